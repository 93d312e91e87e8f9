"""Options checked and resolved against this machine."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from append_prefill.analysis.claims import findings_of
from append_prefill.engines.attach import API_KEY_VARIABLE
from append_prefill.engines.base import Device, Engine
from append_prefill.engines.clocks import lockable_mhz
from append_prefill.engines.devices import cpu_device, list_devices
from append_prefill.engines.local import PlantedEngine
from append_prefill.engines.model import resolve_model
from append_prefill.engines.resolve import resolve_url
from append_prefill.errors import UsageError
from append_prefill.places import CLIFFS
from append_prefill.records.cliffs import EXPERIMENT, Cliff, alone_in
from append_prefill.records.kept import read_kept
from append_prefill.run.confirming import read_suspicion
from append_prefill.run.options import Options, refuse_contradictions
from append_prefill.run.settings import Settings, engine_of, experiment_ids
from append_prefill.workload.loading import load_profile
from append_prefill.workload.profile import Profile


def resolve(options: Options, root: Path) -> Settings:
    """Check and resolve the options against this machine.

    `root` is the checkout, or outside one the folder of the call. Raises UsageError, naming
    option, value and remedy, before any server starts.
    """
    refuse_contradictions(options)
    profile = load_profile(options.profile or default_profile())
    findings_of(profile)  # raises where two findings could not be told apart
    cliffs = read_kept(root / CLIFFS, profile.name)
    refuse_experiments(options.experiment, profile, cliffs)
    if options.quick:
        profile = profile.quickened(both=bool(options.against or options.control))
    candidate = (
        resolve_url(options.sglang_url, os.environ.get(API_KEY_VARIABLE), options.label)
        if options.sglang_url
        else engine_of(
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
        reference = engine_of(
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
    suspicion = None
    if options.confirms is not None:
        suspicion = read_suspicion(Path(options.confirms), option="--confirms")
    return Settings(
        options, profile, model, candidate, reference, devices, root, locked_mhz, cliffs, suspicion
    )


def _control(options: Options, profile: Profile, root: Path) -> Engine:
    """The control's engine. Raises UsageError where another run could not know it again."""
    engine = engine_of(
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


def refuse_experiments(
    names: Sequence[str], profile: Profile, cliffs: Iterable[Cliff] = ()
) -> None:
    """Raise UsageError for an experiment that neither the profile nor its kept cliffs are."""
    known = experiment_ids(profile)
    kept = [EXPERIMENT] if alone_in(cliffs) else []
    for name in names:
        if name not in (*known, *kept):
            raise UsageError(
                "--experiment",
                name,
                f"profile {profile.name} has no such experiment.",
                f"It has {', '.join(known)}.",
            )


def default_profile() -> str:
    """The shipped profile for this machine's devices."""
    return "llama-3.1-8b" if any(d.kind == "cuda" for d in list_devices()) else "cpu-nano"
