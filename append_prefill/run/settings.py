"""What the user asked for, checked: the options of one run, resolved and free of contradictions."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from append_prefill.analysis.claims import findings_of
from append_prefill.analysis.transfer import KvSize, kv_size
from append_prefill.engines.attach import API_KEY_VARIABLE, AttachedEngine
from append_prefill.engines.base import Device, Engine
from append_prefill.engines.clocks import lockable_mhz
from append_prefill.engines.devices import cpu_device, list_devices
from append_prefill.engines.local import PlantedEngine
from append_prefill.engines.model import ResolvedModel, resolve_model
from append_prefill.engines.resolve import resolve_engine, resolve_url
from append_prefill.errors import UsageError
from append_prefill.places import BASELINES, is_checkout, shipped_baselines
from append_prefill.probe.guard.watch import Guard, guard_for
from append_prefill.probe.plan import Plan, make_plan
from append_prefill.records.identity import arguments, without_secrets
from append_prefill.run.labels import refuse_labels
from append_prefill.workload.pd_pair import EXPERIMENT
from append_prefill.workload.profile import Profile, load_profile


@dataclass(frozen=True, slots=True)
class Options:
    """The options as given; None or empty means not given. Names follow the command line."""

    sglang: str | None = None
    against: str | None = None
    control: str | None = None
    sglang_url: str | None = None
    server_arg: Sequence[str] = ()
    against_server_arg: Sequence[str] = ()
    label: str | None = None
    against_label: str | None = None
    profile: str | None = None
    model: str | None = None
    dummy_weights: bool = False
    experiment: Sequence[str] = ()
    starts: int | None = None
    samples: int | None = None
    budget_minutes: float | None = None
    seed: int = 0
    baseline: str = "auto"
    save_baseline: bool = False
    strict_verdicts: bool = False
    lock_clocks: bool = False
    quick: bool = False

    def command(self) -> str:
        """The options of the server and of what is measured, as they could be typed again.

        Left out are those that only say what to do with the result, and secrets' values.
        """
        words: list[str] = []
        for option, value in (
            ("--sglang", self.sglang),
            ("--against", self.against),
            ("--control", self.control),
            ("--sglang-url", self.sglang_url),
            ("--profile", self.profile),
            ("--model", self.model),
            ("--starts", self.starts),
            ("--samples", self.samples),
            ("--budget", self.budget_minutes),
            ("--seed", self.seed),
            ("--baseline", self.baseline),
        ):
            if value is not None:
                words += [option, str(value)]
        for option, arguments_given in self.reference_args().items():
            words += [f"{option}={argument}" for argument in without_secrets(arguments_given)]
        words += [f"--{key.replace('_', '-')}={label}" for key, label in self.labels().items()]
        words += [f"--experiment={name}" for name in self.experiment]
        if self.dummy_weights:
            words.append("--dummy-weights")
        if self.lock_clocks:
            words.append("--lock-clocks")
        if self.quick:
            words.append("--quick")
        return shlex.join(words)

    def labels(self) -> dict[str, str]:
        """What the user calls the sides, by the record's key, where that was said."""
        given = {"label": self.label, "against_label": self.against_label}
        return {key: label for key, label in given.items() if label is not None}

    def candidate_args(self) -> dict[str, Sequence[str]]:
        """The candidate's server arguments, by the option that brought them."""
        return {"--server-arg": self.server_arg}

    def reference_args(self) -> dict[str, Sequence[str]]:
        """The same for the reference, whose own come last, so that they count."""
        return self.candidate_args() | {"--against-server-arg": self.against_server_arg}


@dataclass(frozen=True, slots=True)
class Settings:
    """The options, resolved: everything a run needs, nothing that could still be wrong.

    `reference` is measured beside the candidate: what it is held against, or its `control`.
    """

    options: Options
    profile: Profile
    model: ResolvedModel
    candidate: Engine
    reference: Engine | None
    devices: tuple[Device, ...]
    root: Path
    locked_mhz: int | None = None

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
            ids = experiment_ids(self.profile)
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
            return _engine(
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
        """Raise UsageError if the plan's longest request is beyond the model or the KV pool, or
        all that are there at once beyond the pool.
        """
        output_tokens = self.profile.plan.share_output_tokens
        longest, held = plan.longest_tokens(output_tokens), plan.held_tokens(output_tokens)
        limits: list[tuple[str, Any, int]] = [("--model", self.model.max_position_tokens, longest)]
        before = list(self.profile.server.args)
        for option, more in self.options.reference_args().items():
            before += more
            given = arguments(before)
            limits += [
                (f"{option} --{name}", given.get(name), need)
                for name, need in (("context-length", longest), ("max-total-tokens", held))
            ]
        for option, limit, need in limits:
            if limit is not None and str(limit).isdigit() and need > int(limit):
                what = "the longest request with its output takes"
                if need > longest:
                    what = "the requests that are there at once with their output take"
                raise UsageError(
                    option,
                    limit,
                    f"holds {limit} tokens, and {what} {need}.",
                    "Use a profile with shorter points, or raise the limit.",
                )


def resolve(options: Options, root: Path) -> Settings:
    """Check and resolve the options against this machine.

    `root` is the checkout, or outside one the folder of the call. Raises UsageError, naming
    option, value and remedy, before any server starts.
    """
    _refuse_contradictions(options)
    profile = load_profile(options.profile or default_profile())
    findings_of(profile)  # raises where two findings could not be told apart
    refuse_experiments(options.experiment, profile)
    if options.quick:
        profile = profile.quickened(both=bool(options.against or options.control))
    candidate = (
        resolve_url(options.sglang_url, os.environ.get(API_KEY_VARIABLE), options.label)
        if options.sglang_url
        else _engine(
            "--sglang",
            options.sglang,
            options,
            profile,
            root,
            server_args=options.candidate_args(),
            label=options.label,
        )
    )
    devices = _devices(candidate, profile, root)
    if not devices:
        raise UsageError(
            "--profile",
            profile.name,
            f"measures on a {profile.device} device and this machine shows none.",
            "Use --profile cpu-nano, or make a GPU visible (CUDA_VISIBLE_DEVICES, the driver).",
        )
    reference = None
    if options.against:
        reference = _engine(
            "--against",
            options.against,
            options,
            profile,
            root,
            server_args=options.reference_args(),
            label=options.against_label,
        )
    elif options.control:
        reference = _control(options, profile, root)
    for engine in (candidate, reference):
        if engine is not None:
            engine.check()
    model = resolve_model(
        profile.model, model=options.model, dummy_weights=options.dummy_weights or None
    )
    locked_mhz = lockable_mhz(devices[0]) if options.lock_clocks else None
    return Settings(options, profile, model, candidate, reference, devices, root, locked_mhz)


def _control(options: Options, profile: Profile, root: Path) -> Engine:
    """The control's engine. Raises UsageError where another run could not know it again."""
    engine = _engine(
        "--control",
        options.control,
        options,
        profile,
        root,
        server_args=options.candidate_args(),
    )
    remedy = None
    if engine.version is None:
        problem, remedy = "does not tell its version.", "Give a released version's environment."
    elif not profile.plan.interleave:
        problem = f"is measured beside the candidate, and profile {profile.name} does not do that."
        remedy = "Set plan.interleave = true in the profile."
    if remedy is not None:
        raise UsageError("--control", options.control, problem, remedy)
    return engine


def _engine(
    option: str,
    value: str | None,
    options: Options,
    profile: Profile,
    root: Path,
    *,
    server_args: Mapping[str, Sequence[str]],
    label: str | None = None,
) -> Engine:
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


def _devices(candidate: Engine, profile: Profile, root: Path) -> tuple[Device, ...]:
    if isinstance(candidate, PlantedEngine):
        # Its waiting is no work: as many at once as asked for, and other runs are not in the way.
        here = hashlib.sha256(str(root).encode()).hexdigest()[:8]
        return tuple(
            Device("cpu", f"planted-{here}-{n}", "simulated", 0) for n in range(candidate.devices)
        )
    if profile.device == "cpu":
        return (cpu_device(),)
    return tuple(d for d in list_devices() if d.kind == "cuda")


def experiment_ids(profile: Profile) -> list[str]:
    """Of a profile's points and of its other traffic."""
    pair = [] if profile.pd_pair is None else [EXPERIMENT]
    return [e.id for e in profile.experiments] + [e.id for e in profile.traffic] + pair


def refuse_experiments(names: Sequence[str], profile: Profile) -> None:
    """Raise UsageError for an experiment that the profile does not have."""
    known = experiment_ids(profile)
    for name in names:
        if name not in known:
            raise UsageError(
                "--experiment",
                name,
                f"profile {profile.name} has no such experiment.",
                f"It has {', '.join(known)}.",
            )


def default_profile() -> str:
    """The shipped profile for this machine's devices."""
    return "llama-3.1-8b" if any(d.kind == "cuda" for d in list_devices()) else "cpu-nano"


def _refuse_contradictions(options: Options) -> None:
    if options.sglang_url:
        for name, value in (
            ("--sglang", options.sglang),
            ("--against", options.against),
            ("--control", options.control),
            ("--server-arg", " ".join(without_secrets(options.server_arg))),
            ("--model", options.model),
            ("--dummy-weights", options.dummy_weights),
            ("--save-baseline", options.save_baseline),
        ):
            if value:
                raise UsageError(
                    name,
                    "" if value is True else value,
                    f"cannot go with --sglang-url {options.sglang_url}: that server is measured "
                    f"as it is, and its launches cannot be replicated.",
                    f"Drop {name}, or let the suite start the server (--sglang).",
                )
    if options.against and options.control:
        raise UsageError(
            "--control",
            options.control,
            f"cannot go with --against {options.against}: what is held against side by side needs "
            "no control.",
            "Drop one of them.",
        )
    if not options.against:
        for name, given in (
            ("--against-server-arg", " ".join(without_secrets(options.against_server_arg))),
            ("--against-label", options.against_label),
        ):
            if given:
                raise UsageError(
                    name,
                    given,
                    "is about a reference that this run does not measure.",
                    "Name one with --against, the candidate's own version if need be.",
                )
    refuse_labels(options.label, options.against_label)
    for name, count in (("--starts", options.starts), ("--samples", options.samples)):
        if count is not None and count < 1:
            raise UsageError(name, count, "is not a number of repeats.", "Give 1 or more.")
    if options.budget_minutes is not None and options.budget_minutes <= 0:
        raise UsageError(
            "--budget", options.budget_minutes, "leaves no time.", "Give minutes above 0."
        )
    if options.seed < 0:
        raise UsageError("--seed", options.seed, "is negative.", "Give 0 or more.")
    if options.save_baseline and options.experiment:
        raise UsageError(
            "--save-baseline",
            "",
            "with --experiment would store a part as the whole.",
            "Drop one of the two.",
        )
    if options.save_baseline and options.quick:
        raise UsageError(
            "--save-baseline",
            "",
            "with --quick would store a part as the whole.",
            "Drop one of the two.",
        )
    if options.save_baseline and options.starts == 1:
        raise UsageError(
            "--save-baseline",
            "",
            "with --starts 1 would store a baseline without any launch-to-launch scatter.",
            "Measure at least two launches (five is the profiles' default).",
        )
