"""A prefill and a decode server beside one alone: what a profile's `[pd_pair]` says."""

from __future__ import annotations

from pydantic import Field, field_validator

from append_prefill.workload.experiment import Argument, Strict
from append_prefill.workload.points import Point

EXPERIMENT = "pd_pair"
"""What the experiment is called where experiments are named: in options, marks and plans."""

FINDING = "pd_pair_time"


class PdPair(Strict):
    """Which transfer backends are tried, at which points, and how often.

    `backends` as of SGLang's --disaggregation-transfer-backend. Of each there are `launches` of
    three servers: one alone, one that prefills, one that decodes; each takes `samples` a point
    either way. `server_args` are for all three, which share one device.
    """

    backends: tuple[str, ...] = Field(min_length=1)
    points: tuple[tuple[int, int], ...] = Field(min_length=2)
    launches: int = Field(default=3, ge=1)
    samples: int = Field(default=10, ge=1)
    server_args: tuple[str, ...] = ()
    argument: Argument

    @field_validator("points")
    @classmethod
    def _are_points(cls, points: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        lengths = {Point(context, append).total_tokens for context, append in points}
        if len(lengths) < 2:
            raise ValueError("points of two lengths or more tell a line over the bytes")
        return points

    @property
    def as_points(self) -> tuple[Point, ...]:
        return tuple(Point(*point) for point in self.points)
