"""An experiment: a named list of points, and what a profile claims of them.

What a profile's `[[experiments]]` may say. See docs/add-an-experiment.md.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from append_prefill.workload.points import Point

MeasureName = Literal["append_ends", "context_ends", "total_ends", "total_factor", "band"]
Id = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]

ARGUMENT_MIN_CHARACTERS = 20
"""What a reason takes at the least: shorter ones ("seems fine") only name the number again."""


def _argued(text: str) -> str:
    if len(text.strip()) < ARGUMENT_MIN_CHARACTERS:
        raise ValueError(
            f"{text!r} is no argument for a number that can turn a run red: say in "
            f"{ARGUMENT_MIN_CHARACTERS} characters or more why it is this one and not twice or "
            "half of it"
        )
    return text


Argument = Annotated[str, AfterValidator(_argued)]


class Strict(BaseModel):
    """Part of a profile: what it does not know is refused, and no value is NaN or infinite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Bound(Strict):
    """The limit of one finding.

    `limit` is None for a value that is reported and never gated. `meaningful = false` makes the
    finding not-applicable under this profile; `argument` then says why it has no meaning.
    """

    limit: float | None = Field(default=None, gt=0)
    meaningful: bool = True
    argument: Argument


class Claim(Bound):
    """A finding that a profile adds: what must hold of an experiment's points, and its limit.

    `measure` is what is held against the limit, by a name of `analysis.claims.MEASURES`; `claim`
    the sentence that the report shows. With T the median TTFT of a point: `append_ends` is T at the
    largest m over T at the smallest, `context_ends` and `total_ends` the same over L and N = L + m,
    `total_factor` the last divided by the growth of N, `band` (max T - min T) / max T.
    """

    id: Id
    claim: str
    measure: MeasureName

    @property
    def axis(self) -> Literal["append", "context", "total"] | None:
        """The axis at whose ends T is compared; None where every point counts alike."""
        match self.measure:
            case "append_ends":
                return "append"
            case "context_ends":
                return "context"
            case "total_ends" | "total_factor":
                return "total"
            case "band":
                return None


class Experiment(Strict):
    """A named list of points, the words the report uses for it, and what is claimed of it.

    The study's own claims are not here but in `analysis.findings`; a profile only bounds them.
    """

    id: Id
    title: str
    points: tuple[tuple[int, int], ...] = Field(min_length=1)
    findings: tuple[Claim, ...] = ()

    @field_validator("points")
    @classmethod
    def _are_points(cls, points: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        for context, append in points:
            Point(context, append)
        return points

    @model_validator(mode="after")
    def _can_be_measured(self) -> Experiment:
        for claim in self.findings:
            if len(set(self.points)) < 2:
                raise ValueError(f"{claim.id}: {claim.measure} takes two points or more")
            if claim.axis is None:
                continue
            tokens = sorted(getattr(p, f"{claim.axis}_tokens") for p in set(self.as_points))
            if tokens.count(tokens[0]) > 1 or tokens.count(tokens[-1]) > 1:
                raise ValueError(
                    f"{claim.id}: {claim.measure} takes one point with the fewest and one with the "
                    f"most {claim.axis} tokens, and the points have {tokens}"
                )
        return self

    @property
    def as_points(self) -> tuple[Point, ...]:
        """The (L, m) pairs, in the order the profile gives them."""
        return tuple(Point(context, append) for context, append in self.points)
