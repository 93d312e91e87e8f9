"""Why a verdict is what it is, and what the reader must be told: codes with their numbers.

Everything here is data with an identity: what decides reads a code, never a sentence. The
sentences are made in `report/`. Records of suites before 0.2 hold sentences in the same keys; they
are kept as they are, shown, and never read by anything that decides.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Side = Literal["candidate", "reference"]
FindingVerdict = Literal["holds", "broken", "regime-shift", "inconclusive", "not-applicable"]
ComparisonVerdict = Literal["pass", "regression", "improvement", "inconclusive", "not-comparable"]


DEVICE_STATE = "device state made the block invalid"
"""The reason of an invalid sample that says nothing of the server."""

_OF_DEVICE = "device state "


def is_of_device(reason: str) -> bool:
    """Whether a sample's reason is that, as suites before 0.2 said it too: in another verb."""
    return reason.startswith(_OF_DEVICE)


class Record(BaseModel):
    """Base of everything in a run record: a key that is not known is an error.

    JSON has neither NaN nor infinity, and no value is either.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


Quantity = Literal[
    "level",
    "append_growth",
    "context_growth",
    "append_end",
    "context_end",
    "floor_points",
    "compute_points",
    "floor",
    "new_token",
    "cached_token",
]
"""What two sides are compared by as a whole: the level over all points, and over those where TTFT
is at its floor or computing shows; growth with m or L (the excess at the largest value over the
average) and the effect at that end. The last three, coefficients of a surface fitted to each side,
are only in records of suites before 0.2."""


class NoiseSource(Record):
    """Where the noise that a comparison assumed comes from.

    `profile`: an assumption. `stored`: A/A launches; `starts` and `nights` say how many, and
    `night_assumed` that how sessions differ is the profile's assumption all the same. `family`: the
    `experiments` in other traffic of the run, each as far from what was expected as all are.
    """

    kind: Literal["profile", "stored", "family"]
    experiments: int | None = None
    starts: int | None = None
    nights: int | None = None
    night_assumed: bool = False


class Method(Record):
    """How two sides were compared. `statistic` is what stands for a launch at a point.

    `faster_half`: the mean of the faster half of its samples; `like_samples`: the mean of the
    middle half of the differences between like samples of a pair. `paired`: launches were up
    together, alternating, and are compared within their pairs. `control`: the version to which both
    sides were held, each in its own session, so that what is compared are ratios to it. `alpha` is
    the one-sided false-alarm rate; `min_effect` and `must_catch` are the policy's relative effects.
    `pass_confidence`: of the two-sided intervals whose upper ends have to lie below `must_catch`;
    more than 95 % where several interim analyses might pass a run.
    """

    statistic: Literal["faster_half", "like_samples"] = "faster_half"
    paired: bool
    control: str | None = None
    alpha: float
    min_effect: float
    must_catch: float
    pass_confidence: float = 0.95
    noise: NoiseSource


class Ground(Record):
    """Why a comparison has its verdict.

    `rejected`: the joint test rejects by `quantities`, and by single points if `single_points`.
    `nothing-hides`: a pass. `undecided`: neither. The others say why nothing was judged.
    `medians_ratio` is set where the level in medians is another than in the statistic that is
    compared. `left_out_*`: launches and points that the joint test left out as incomplete.
    `slower_points`: of a comparison with the study, points beyond the policy's least effect.
    `taken_alone`: what the samples of a server that cannot be launched anew would say.
    `suspected_by`: the stored version whose suspicion this side-by-side comparison confirms or not.
    """

    code: Literal[
        "rejected",
        "nothing-hides",
        "undecided",
        "no-common-point",
        "one-value-a-point",
        "between-nights-unknown",
        "too-few-launches",
        "identity-differs",
        "not-replicated",
    ]
    quantities: list[Quantity] = []
    single_points: bool = False
    medians_ratio: float | None = None
    left_out_starts: int = 0
    left_out_points: int = 0
    candidate_starts: int | None = None
    reference_starts: int | None = None
    slower_points: int | None = None
    least_effect: float | None = None
    taken_alone: ComparisonVerdict | None = None
    suspected_by: str | None = None


JUDGED = ("rejected", "nothing-hides", "undecided")
"""The codes of comparisons of which the joint test said something."""


class Region(Record):
    """A part of the (L, m) plane that moved, and by how much (relative effects: 0.03 is +3 %).

    `everywhere`; `floor`: where TTFT is at its floor, m <= `append_tokens`; `append`: in proportion
    to m, whole at `append_tokens`; `context`: in proportion to L, whole at `context_tokens` and
    mostly seen from `from_tokens` on; `point`: one point. `own` is this part's share, `size` the
    whole effect where it is whole.
    """

    kind: Literal["everywhere", "floor", "append", "context", "point"]
    own: float
    size: float
    context_tokens: int | None = None
    append_tokens: int | None = None
    from_tokens: int | None = None


class FindingGround(Record):
    """Why a finding has its verdict.

    `no-bound`, `no-meaning` (the bound's argument says why), `not-gated`, `not-planned` and
    `not-measured` (`text` names what is missing), `one-launch` (no interval), `within` (holds),
    `straddles` (inconclusive), `beyond` (broken), `shifted` (a regime shift), `standing` (so it is
    in the reference), `further-out` (beyond the reference's own interval as well),
    `shift-unclear` (the cheap end got cheaper, and the dear end may have got dearer).
    `near_ratio` and `far_ratio`: the candidate over the reference at the cheap and the dear end;
    `reference_value` and `reference_high`: the finding as the reference measured it.
    `reply-lost` and `reply-kept`: in the mean, `turn`, the worst, found `cached_tokens` of the
    `planned_cached_tokens` that its version keeps. `held-up` (broken): requests that decode
    wait longer than the bound allows. `left-out`: the server is too small for the point `text`.
    `no-pair`: no prefill and decode server ran together, for the reasons in `text`; `pair-costs`
    (broken): what they add is beyond the bound.
    `reference_lacks`: what is not known of the reference, so that a lower floor cannot be told from
    a slower far end.
    """

    code: Literal[
        "no-bound",
        "no-meaning",
        "not-gated",
        "not-planned",
        "not-measured",
        "one-launch",
        "within",
        "straddles",
        "beyond",
        "shifted",
        "standing",
        "further-out",
        "shift-unclear",
        "reply-lost",
        "reply-kept",
        "held-up",
        "left-out",
        "no-pair",
        "pair-costs",
    ]
    text: str | None = None
    near_ratio: float | None = None
    far_ratio: float | None = None
    reference_value: float | None = None
    reference_high: float | None = None
    reference_lacks: Literal["everything", "points"] | None = None
    turn: int | None = None
    cached_tokens: float | None = None
    planned_cached_tokens: int | None = None


class Decision(Record):
    """What an interim analysis decided.

    `settled` (the verdict is not inconclusive), `nights` (a stored baseline: more launches would
    not settle it), `last` (no analysis is left), `continue` (`more_pairs` are measured), `findings`
    (so they are: the verdict is in, but not that of a finding, and not all planned launches are
    measured), `budget` (it would go on, and only `budget_pairs` fit into the minutes).
    `starts_needed`: launches per side that would show the effect to catch, None where no number
    would.
    """

    code: Literal["settled", "nights", "last", "continue", "findings", "budget"]
    more_pairs: int = 0
    budget_pairs: int | None = None
    starts_needed: int | None = None


class RunWarning(Record):
    """What the reader of a run must be told beside its verdict; numbers as the code needs them.

    `launch` counts from 1, as progress lines do. `text` is somebody else's words: an error's, an
    engine's, a stored record's. `launches` began (of one that the user `interrupted`: were
    planned) and `usable_launches` were measured to their end, in a run that ended early;
    `pair-interrupted`: the same of the P/D pair's own launches, over all its backends.
    `resumed`: it was cut off when `launches` pairs were done, and gone on with `value` s later.
    `changed-within`: from block `limit` on, counted from 1, times were `value` times as long.
    `elsewhere`: the stored run of `version` is of another machine, by these `fields`.
    `left-out`: the points `fields` take up to `value` tokens, and the server's `text` (a context
    length, a KV pool) holds `limit`.
    """

    code: Literal[
        "baseline-expired",
        "elsewhere",
        "engine",
        "launch-failed",
        "still-drifting",
        "slow-launch",
        "changed-within",
        "commit-moved",
        "version-moved",
        "not-placed",
        "host-of-another-identity",
        "measured-as-reference",
        "infrastructure",
        "judging-failed",
        "not-finished",
        "interrupted",
        "pair-interrupted",
        "resumed",
        "left-out",
    ]
    side: Side | None = None
    launch: int | None = None
    version: str | None = None
    host: str | None = None
    fields: list[str] = []
    value: float | None = None
    limit: float | None = None
    launches: int | None = None
    usable_launches: int | None = None
    text: str | None = None
