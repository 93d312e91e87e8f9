"""What a prefill and a decode server measured beside one alone, in `append-prefill/run/2`."""

from __future__ import annotations

from pydantic import Field, model_validator

from append_prefill.records.figures import Estimate, TimeMs, Tokens
from append_prefill.records.grounds import Record
from append_prefill.workload.points import Point


class PairSeries(Record):
    """One point of one launch. The lists are parallel: each entry is one of either way, taken one
    after the other. `void`: how many such entries were left out, one of the two being invalid, or
    the device not the run's own.
    """

    context_tokens: Tokens
    append_tokens: Tokens
    alone_ms: list[TimeMs]
    pair_ms: list[TimeMs]
    void: int = Field(ge=0)

    @model_validator(mode="after")
    def _is_parallel(self) -> PairSeries:
        alone, pair = len(self.alone_ms), len(self.pair_ms)
        if alone != pair:
            raise ValueError(f"alone_ms has {alone} entries and pair_ms {pair}: they are parallel")
        return self

    @property
    def point(self) -> Point:
        return Point(self.context_tokens, self.append_tokens)


class PairLaunch(Record):
    """Three servers that were up together. `failure`: why nothing was measured, or null.

    `took_s`: seconds from their start until they were gone; null in records from before it was
    taken.
    """

    index: int
    series: list[PairSeries]
    failure: str | None = None
    took_s: float | None = None


class PairPoint(Record):
    """TTFT alone, and what comes on top of it through the pair, over launches.

    `moved_bytes` of KV were sent from one to the other; null where the model's geometry is not
    known.
    """

    context_tokens: Tokens
    append_tokens: Tokens
    moved_bytes: int | None
    alone_ms: Estimate
    more_ms: Estimate

    @property
    def point(self) -> Point:
        return Point(self.context_tokens, self.append_tokens)


class PairBackend(Record):
    """One transfer backend. `fixed_ms` and `ms_per_gb` (1e9 bytes): a line through each launch's
    differences over the bytes moved, with its interval over launches; values are null where it
    cannot be told. `reason`: why there is no pair, null where there was one.
    """

    backend: str
    launches: list[PairLaunch]
    reason: str | None = None
    points: list[PairPoint] = []
    fixed_ms: Estimate | None = None
    ms_per_gb: Estimate | None = None

    @property
    def gb_per_s(self) -> float | None:
        """Of the line's slope; None where more bytes did not take longer, or it is not known."""
        slope = None if self.ms_per_gb is None else self.ms_per_gb.value
        return 1000 / slope if slope is not None and slope > 0 else None
