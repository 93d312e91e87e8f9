"""The options of one run, resolved: what it needs of this machine, and what it plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from append_prefill.analysis.transfer import KvSize, kv_size
from append_prefill.engines.attach import AttachedEngine
from append_prefill.engines.base import Device, Engine
from append_prefill.engines.local import PlantedEngine
from append_prefill.engines.model import ResolvedModel
from append_prefill.engines.resolve import resolve_engine
from append_prefill.errors import UsageError
from append_prefill.places import BASELINES, is_checkout, shipped_baselines
from append_prefill.probe.guard.watch import Guard, guard_for
from append_prefill.probe.plan import Plan
from append_prefill.probe.planning import make_plan
from append_prefill.records.cliffs import EXPERIMENT as CLIFFS
from append_prefill.records.cliffs import Cliff, alone_in
from append_prefill.records.identity import arguments
from append_prefill.run.confirming import Suspicion
from append_prefill.run.options import Options
from append_prefill.workload.pd_pair import EXPERIMENT as PD_PAIR
from append_prefill.workload.profile import Profile


@dataclass(frozen=True, slots=True)
class Settings:
    """The options, resolved: everything a run needs, nothing that could still be wrong.

    `reference` is measured beside the candidate: what it is held against, or its `control`.
    `cliffs` are those kept for the profile.
    `suspicion` is what is measured again.
    """

    options: Options
    profile: Profile
    model: ResolvedModel
    candidate: Engine
    reference: Engine | None
    devices: tuple[Device, ...]
    root: Path
    locked_mhz: int | None = None
    cliffs: tuple[Cliff, ...] = ()
    suspicion: Suspicion | None = None

    @property
    def control(self) -> str | None:
        """The version of the reference where it is a control and not what is held against."""
        if self.options.control is None or self.reference is None:
            return None
        return self.reference.version

    @property
    def vocab_size(self) -> int:
        """Ids below this may be sent."""
        return int(self.model.config["vocab_size"])

    @property
    def kv_bytes_per_token(self) -> int | None:
        """Bytes of KV cache that one more token takes, from the model's geometry.

        None for a running server whose model is not known to be the profile's, and for layers of a
        kind that no formula is known for.
        """
        size = self._kv_size
        return None if size is None else size.token_bytes

    @property
    def kv_fixed_bytes(self) -> int:
        """Bytes that a context takes beside those of its tokens: sliding windows, states."""
        size = self._kv_size
        return 0 if size is None else size.fixed_bytes

    @property
    def _kv_size(self) -> KvSize | None:
        if isinstance(self.candidate, AttachedEngine):
            served = self.candidate.model_identity()["config_sha256"]
            if served != self.model.config_sha256:
                return None
        try:
            return kv_size(self.model.config)
        except ValueError:
            return None

    def guard(self, device: Device) -> Guard:
        """What watches the device's state. A simulated server has no device: nothing to watch."""
        return Guard([]) if isinstance(self.candidate, PlantedEngine) else guard_for(device)

    def device_identity(self) -> dict[str, Any]:
        """What must be equal of the device for two runs to be comparable."""
        if isinstance(self.candidate, PlantedEngine):
            # What it was called when the first records were written.
            return {"device_kind": "planted", "device": "planted"}
        identity = guard_for(self.devices[0]).identity()
        # Another clock is another device; without a lock there is no key, as before it could be.
        locked = {} if self.locked_mhz is None else {"locked_sm_mhz": self.locked_mhz}
        return identity | locked

    @property
    def wanted(self) -> tuple[str, ...] | None:
        """Ids of the experiments that the options leave of the profile's; None for all."""
        if self.options.experiment:
            ids = [*experiment_ids(self.profile), *([CLIFFS] if alone_in(self.cliffs) else [])]
            return tuple(name for name in ids if name in self.options.experiment)
        return self.profile.quick_experiments if self.options.quick else None

    def plan(self, experiments: Sequence[str] | None = None) -> Plan:
        """The plan these options make of the experiments (None: all of the profile's).

        Of them those that the options name are left, or those that the profile measures quickly.
        """
        options, wanted = self.options, self.wanted
        if wanted is not None:
            experiments = [name for name in wanted if experiments is None or name in experiments]
        return make_plan(
            self.profile,
            seed=options.seed,
            sides=("candidate", "reference") if self.reference else ("candidate",),
            experiments=experiments,
            starts=options.starts,
            samples=options.samples,
            budget_minutes=options.budget_minutes,
            control=self.control,
            cliffs=self.cliffs,
        )

    @property
    def baselines(self) -> Path:
        """Where stored runs are read, and where this one is stored if it is to be."""
        return self.root / BASELINES

    @property
    def shipped(self) -> Path | None:
        """Stored runs that are read as well: those that came with the suite, outside a checkout."""
        return None if is_checkout(self.root) else shipped_baselines()

    def confirming(self, version: str) -> Engine | None:
        """The engine of a stored run's version, if its environment is at hand, to confirm with.

        None for the candidate's own version: measured against itself it would clear any
        suspicion. None too for what is not at hand; the report then says what would confirm.
        """
        if version == self.candidate.version:
            return None
        try:
            return engine_of(
                "--baseline",
                version,
                self.options,
                self.profile,
                self.root,
                server_args=self.options.candidate_args(),
            )
        except UsageError:
            return None

    def check_fits(self, plan: Plan) -> None:
        """Raise UsageError if every point is beyond the model or the KV pool, or what comes in
        other traffic is. Points that a server turns out to be too small for are left out.
        """
        output_tokens = self.profile.plan.share_output_tokens
        least, held = plan.least_tokens(output_tokens), plan.held_tokens(output_tokens)
        limits: list[tuple[str, Any, int]] = [("--model", self.model.max_position_tokens, least)]
        before = list(self.profile.server.args)
        for option, more in self.options.reference_args().items():
            before += more
            given = arguments(before)
            limits += [
                (f"{option} --{name}", given.get(name), need)
                for name, need in (("context-length", least), ("max-total-tokens", held))
            ]
        for option, limit, need in limits:
            if limit is not None and str(limit).isdigit() and need > int(limit):
                what = "what has to fit takes with its output"
                if need > least:
                    what = "the requests that are there at once with their output take"
                raise UsageError(
                    option,
                    limit,
                    f"holds {limit} tokens, and {what} {need}.",
                    "Use a profile with shorter points, or raise the limit.",
                )


def engine_of(
    option: str,
    value: str | None,
    options: Options,
    profile: Profile,
    root: Path,
    *,
    server_args: Mapping[str, Sequence[str]],
    label: str | None = None,
) -> Engine:
    """The engine that the option's value names. Raises UsageError if there is none."""
    return resolve_engine(
        option,
        value,
        profile=profile,
        server_args=server_args,
        model=options.model,
        dummy_weights=options.dummy_weights or None,
        root=root,
        label=label,
    )


def experiment_ids(profile: Profile) -> list[str]:
    """Of a profile's points and of its other traffic."""
    pair = [] if profile.pd_pair is None else [PD_PAIR]
    return [e.id for e in profile.experiments] + [e.id for e in profile.traffic] + pair
