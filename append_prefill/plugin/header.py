"""What pytest's header says of a run: what it measures, how long, and what it could see."""

from __future__ import annotations

import shlex

import pytest

from append_prefill.engines.local import PlantedEngine
from append_prefill.places import make_environment
from append_prefill.plugin.program import program_of
from append_prefill.plugin.state import FOLDER, REFERENCES, SETTINGS
from append_prefill.records.baselines import stored_baselines
from append_prefill.records.identity import identity_differences, identity_of
from append_prefill.report.names import typed, without
from append_prefill.report.terminal import header_lines
from append_prefill.run.folders import taken_latest
from append_prefill.run.identity import identity_for
from append_prefill.run.outlook import newest_like, outlook_of
from append_prefill.run.references import References
from append_prefill.run.settings import Settings


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Of all experiments: which tests are selected is not known yet (xdist's controller prints)."""
    settings, references = config.stash[SETTINGS], config.stash[REFERENCES]
    profile, identity = settings.profile, identity_for(settings)
    stored = stored_baselines(settings.baselines, shipped=settings.shipped)
    like = newest_like((one.run for one in stored), profile, identity)
    noise = profile.noise if references.noise is None else references.noise
    outlook = outlook_of(settings.plan(), profile, like, noise=noise)
    devices = len(settings.devices)
    name = settings.devices[0].name
    key = "mde_side_by_side" if settings.reference else "mde_baseline"
    if settings.control is not None:
        key = "mde_control"
    decides = _decides(settings, references)
    lines = header_lines(
        outlook,
        candidate=settings.candidate.label,
        reference=_reference(settings, references),
        nothing=_nothing(settings),
        device=name if devices == 1 else f"{devices} × {name}",
        detects=outlook[key] if decides else None,
        quick=settings.options.quick,
        beside=_beside(config, settings, references) if decides else None,
    )
    if FOLDER in config.stash and (taken := taken_latest(config.stash[FOLDER].parent)) is not None:
        lines.append(f"append-prefill: {taken} is a folder, so it will not point at this run")
    return lines


def _nothing(settings: Settings) -> str:
    if settings.options.baseline == "none" or not settings.candidate.replicable:
        return "nothing to compare with"
    return "nothing stored for this machine yet to compare with"


def _beside(config: pytest.Config, settings: Settings, references: References) -> str | None:
    """The command of this run with its stored reference side by side.

    None where both are measured already, or a control makes the sessions comparable.
    """
    if settings.reference is not None or not references.stored:
        return None
    program, version = program_of(config), references.stored[0][1].version
    simulated = isinstance(settings.candidate, PlantedEngine)
    if version is None or version == settings.candidate.version or simulated:
        version = program.other or "VERSION"
    # A seed of its own it draws anew.
    words = without(shlex.split(settings.options.command()), "--seed")
    command = typed(program.run, words, against=version)
    at_hand = simulated or settings.confirming(version) is not None
    return command if at_hand else f"{make_environment(settings.root, version)} && {command}"


def _reference(settings: Settings, references: References) -> str | None:
    if settings.reference is not None and settings.control is None:
        return f"{settings.reference.label} side by side"
    by = "" if settings.control is None else f", both by their ratio to {settings.control}"
    for role, run in references.stored:
        version = run.version or "(unknown version)"
        stored = f"the last runs of {version}" if role == "rolling" else f"the stored {version}"
        return f"{stored}{by}"
    return None


def _decides(settings: Settings, references: References) -> bool:
    """Whether the comparison can reach a verdict at all."""
    if not settings.candidate.replicable:
        return False
    if settings.reference is not None and settings.control is None:
        return True
    own, not_binding = identity_for(settings), settings.profile.identity_not_binding
    return any(
        run.provenance == "suite" and not identity_differences(own, identity_of(run), not_binding)
        for _, run in references.stored
    )
