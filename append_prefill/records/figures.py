"""What a record's numbers may be: limits, and a fitted quantity with its interval."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from append_prefill.records.grounds import Record

TIME_MIN_MS = 1e-4
"""0.1 µs, what a baseline keeps of a time: a thousandth of the quickest loopback round trip."""


TIME_MAX_MS = 3_600_000.0
"""An hour: no client waits that long for a first token, and every deadline of the suite is shorter.
What is larger was written in another unit (20 ms in ns are five and a half hours)."""


SD_MAX = 51.0
"""Logs of times within these limits are at most 24.3 apart, so the robust sd of two samples per
launch (1.4826 times the median deviation, times the root of 2) is at most 51. All that was ever
measured is below 1; what is larger than 51 was never computed from times."""


TimeMs = Annotated[float, Field(ge=TIME_MIN_MS, le=TIME_MAX_MS)]


MaybeMs = Annotated[float, Field(ge=0, le=TIME_MAX_MS)] | None


Tokens = Annotated[int, Field(ge=1)]


Scalar = str | int | float | bool | None


RelativeSd = Annotated[float, Field(ge=0, le=SD_MAX)]


class Estimate(Record):
    """A fitted quantity with its 95 % interval over launches."""

    value: float | None
    low: float | None
    high: float | None
