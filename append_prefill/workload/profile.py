"""A profile: which model, which points, how often, and what must hold.

A bound or a noise value without its argument does not validate: every number that can turn a run
red says why.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from append_prefill.workload.experiment import Argument, Bound, Experiment, Strict
from append_prefill.workload.pd_pair import EXPERIMENT, PdPair
from append_prefill.workload.points import Point
from append_prefill.workload.policy import Noise, Plane, Policy
from append_prefill.workload.states import Aging, Overload, Soak
from append_prefill.workload.traffic_experiment import TrafficExperiment

DeviceKind = Literal["cuda", "cpu"]
Alternation = Literal["block", "sample"]
PlacementPolicy = Literal["off", "turns"]


class Model(Strict):
    """What the server loads: a geometry (`config`, written to a directory) or a path or name.

    `config` is a Hugging Face `config.json` as a table; with it and `dummy_weights` nothing is
    downloaded. `tokenizer`: `wordlevel` gives a geometry the tokenizer that ships with the suite,
    which text and chats need; None leaves the server without one, where it takes ids alone.
    """

    # Folders of models and of baselines are called so; 255 bytes is what a file system takes, with
    # what is added to it.
    name: str = Field(min_length=1, max_length=128)
    path: str | None = None
    config: dict[str, Any] | None = None
    tokenizer: Literal["wordlevel"] | None = None
    dummy_weights: bool = True


class Server(Strict):
    """What must be equal on both sides: arguments for `sglang.launch_server`, environment."""

    args: tuple[str, ...] = ()
    env: dict[str, str] = Field(default_factory=dict)
    start_limit_s: float = Field(default=600, gt=0)


class Repeats(Strict):
    """How often: launches per side, samples per point and launch, spread over blocks.

    `interleave`: side by side, both servers of a pair are up together and their blocks alternate,
    where the device holds two. Else one launch follows the other (ABBA). `alternate`: what turns
    from one server to the other then, whole blocks or single samples.
    """

    starts: int = Field(ge=1)
    samples: int = Field(ge=1)
    output_tokens: int = Field(default=2, ge=2)
    share_output_tokens: int = Field(default=32, ge=2)
    idle_ms: float = Field(default=3.0, ge=0)
    warmup_rounds_max: int = Field(default=30, ge=2)
    drawn_points: int = Field(default=0, ge=0)
    budget_minutes: float = Field(gt=0)
    interleave: bool = False
    alternate: Alternation = "block"
    min_valid_share: float = Field(default=0.5, gt=0, le=1)


class Quick(Strict):
    """What `--quick` measures in place of the plan: few launches, few samples, some experiments.

    `pairs` side by side, `starts` launches of one side alone; no `experiments` are all of them.
    Past the budget no pair is added, so none to confirm a suspicion.
    """

    pairs: int = Field(default=2, ge=2)
    starts: int = Field(default=3, ge=2)
    samples: int = Field(default=4, ge=1)
    budget_minutes: float = Field(default=2, gt=0)
    experiments: tuple[str, ...] = ()
    argument: Argument = (
        "Two pairs, or three launches, are the fewest that show how launches scatter."
    )


class Placement(Strict):
    """On which cores the client and the servers' busy threads run while they are measured.

    `off`: where the kernel puts them. `turns`: the client and each kind of busy thread on a core of
    its own, which the like threads of a pair's servers share, since only one of them is measured
    at a time. Cores are drawn anew between blocks; see `probe.placement`.
    """

    policy: PlacementPolicy = "off"
    argument: Argument = "The profile does not ask for it."


class Launching(Strict):
    """How servers come up. `ahead`: those of the next pair are launched while the pair at hand
    comes up, and held before they touch the device until it is their turn; see `probe.ahead`.
    """

    ahead: bool = False
    argument: Argument = "The profile does not ask for it."


class Link(Strict):
    """A link a KV cache could travel on; `gb_per_s` in 1e9 bytes a second."""

    name: str
    gb_per_s: float = Field(gt=0)


class Limits(Strict):
    """The rectangle Hypothesis draws (L, m) from; both ends included."""

    context_tokens: tuple[int, int]
    append_tokens: tuple[int, int]
    total_tokens: int


class Profile(Strict):
    """Everything a run is planned from. See the shipped files for worked examples."""

    name: str
    title: str
    device: DeviceKind
    model: Model
    server: Server
    plan: Repeats
    limits: Limits
    experiments: tuple[Experiment, ...] = Field(min_length=1)
    traffic: tuple[TrafficExperiment, ...] = ()
    pd_pair: PdPair | None = None
    bounds: dict[str, Bound]
    quick: Quick = Quick()
    launch: Launching = Launching()
    placement: Placement = Placement()
    aging: Aging = Aging()
    overload: Overload = Overload()
    soak: Soak = Soak()
    plane: Plane = Plane()
    policy: Policy
    noise: Noise
    link: Link
    identity_not_binding: tuple[str, ...] = ()
    baseline_max_age_days: float = Field(default=90, gt=0)
    # A week of nightly runs: long enough for a between-session scatter that is not all guess, short
    # enough that a driver update is soon inside it.
    rolling_runs: int = Field(default=7, ge=2)

    @model_validator(mode="after")
    def _consistent(self) -> Profile:
        if (
            self.placement.policy == "turns"
            and self.plan.interleave
            and "--sleep-on-idle" not in self.server.args
        ):
            raise ValueError(
                "placement.policy = 'turns' puts both servers on the same cores: an idle one must "
                "leave them, so server.args needs --sleep-on-idle"
            )
        ids = [e.id for e in self.experiments] + [e.id for e in self.traffic]
        if self.pd_pair is not None:
            ids.append(EXPERIMENT)
        if len(set(ids)) != len(ids):
            raise ValueError(f"two experiments share an id: {sorted(ids)}")
        unknown = sorted({*self.quick.experiments}.difference(ids))
        if unknown:
            raise ValueError(f"quick.experiments: there is no {', '.join(unknown)}")
        claims = [claim.id for e in self.experiments for claim in e.findings]
        taken = sorted({name for name in claims if claims.count(name) > 1 or name in self.bounds})
        if taken:
            raise ValueError(f"two findings share an id: {', '.join(taken)}")
        if self.policy.must_catch <= self.policy.min_effect:
            raise ValueError("policy.must_catch must be larger than policy.min_effect")
        for experiment in self.experiments:
            for point in experiment.as_points:
                if point.total_tokens > self.limits.total_tokens:
                    raise ValueError(
                        f"{experiment.id}: {point.label} has {point.total_tokens} tokens, more "
                        f"than limits.total_tokens = {self.limits.total_tokens}"
                    )
        for traffic in self.traffic:
            if traffic.form != "ids" and self.model.tokenizer is None:
                raise ValueError(
                    f"{traffic.id}: {traffic.form} takes a tokenizer: set model.tokenizer = "
                    "'wordlevel'"
                )
            longest = max((unit.total_tokens for unit in traffic.units), default=0)
            if longest > self.limits.total_tokens:
                raise ValueError(
                    f"{traffic.id}: takes {longest} tokens, more than limits.total_tokens = "
                    f"{self.limits.total_tokens}"
                )
        return self

    @property
    def points(self) -> tuple[Point, ...]:
        """Every point of every experiment, once, sorted."""
        return tuple(sorted({point for e in self.experiments for point in e.as_points}))

    @property
    def has_sessions(self) -> bool:
        """Whether a server has to keep sessions."""
        return any(e.context == "session" for e in self.traffic)

    def bound_of(self, finding_id: str) -> Bound | None:
        """The bound of one of the study's findings or of the profile's own; None without one."""
        claims = {claim.id: claim for e in self.experiments for claim in e.findings}
        return claims.get(finding_id) or self.bounds.get(finding_id)

    @property
    def quick_experiments(self) -> tuple[str, ...]:
        """Ids of the experiments that `--quick` measures, in the profile's order."""
        ids = tuple(experiment.id for experiment in self.experiments)
        chosen = self.quick.experiments
        return tuple(name for name in ids if name in chosen) if chosen else ids

    def quickened(self, *, both: bool) -> Profile:
        """The profile with `quick`'s repeats in place of its plan's; `both`: of two sides.

        What a sample is stays, so its runs compare with others at the points both have. Nothing is
        drawn and nothing added: there is one analysis, at the whole false-alarm rate.
        """
        starts = self.quick.pairs if both else self.quick.starts
        repeats = {
            "starts": starts,
            "samples": self.quick.samples,
            "budget_minutes": self.quick.budget_minutes,
            "drawn_points": 0,
        }
        return self.model_copy(
            update={
                "plan": self.plan.model_copy(update=repeats),
                "policy": self.policy.model_copy(update={"looks": 1}),
            }
        )

    def experiments_of(self, point: Point) -> list[str]:
        """Ids of the experiments the point belongs to; empty for a drawn point."""
        return [e.id for e in self.experiments if point in e.as_points]

    def experiment(self, experiment_id: str) -> Experiment:
        """The experiment of that id. Raises KeyError, naming those there are."""
        for experiment in self.experiments:
            if experiment.id == experiment_id:
                return experiment
        known = ", ".join(e.id for e in self.experiments)
        raise KeyError(f"profile {self.name} has no experiment {experiment_id!r}, only {known}")
