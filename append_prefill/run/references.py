"""What a run is held against from storage: the chosen baseline, the pinned one, the last sessions.

The newest older version answers "did this release get slower?", the pinned reference "how far
have we crept?", the rolling window "did something change here since last week?".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from append_prefill.analysis.noise import noise_of
from append_prefill.analysis.summary import usable
from append_prefill.records.baselines import pinned_baseline, stored_baselines
from append_prefill.records.comparison import Comparison, Role
from append_prefill.records.definition import definition_of
from append_prefill.records.grounds import RunWarning
from append_prefill.records.history.entry import Entry
from append_prefill.records.identity import MACHINE, identity_differences, identity_of
from append_prefill.records.noise import NoiseRecord
from append_prefill.records.run import Run
from append_prefill.records.selecting import expiry_warning, select_baseline, shares_points
from append_prefill.records.store import RUN_FILE, read_run
from append_prefill.run.history import load
from append_prefill.workload.profile import Profile


@dataclass(frozen=True, slots=True)
class References:
    """Stored runs to compare with; each is None where there is none. `warnings` are for the run.

    `noise`: what the newest baseline of the run's identity that has a noise says of it. Where they
    are not `compared`, the chosen one still tells a regime shift from a broken finding.
    """

    chosen: Run | None = None
    pinned: Run | None = None
    rolling: Run | None = None
    warnings: tuple[RunWarning, ...] = ()
    noise: NoiseRecord | None = None
    compared: bool = True

    @property
    def stored(self) -> list[tuple[Role, Run]]:
        """What is compared with, as (role, run), the chosen one first."""
        if not self.compared:
            return []
        named: tuple[tuple[Role, Run | None], ...] = (
            ("chosen", self.chosen),
            ("pinned", self.pinned),
            ("rolling", self.rolling),
        )
        return [(role, run) for role, run in named if run is not None]


def gather(
    root: Path,
    report_dir: Path,
    selector: str,
    *,
    identity: dict[str, Any],
    version: str | None,
    profile: Profile,
    now: datetime,
    shipped: Path | None = None,
) -> References:
    """Read what `--baseline` asks for; `auto` brings the pinned and the rolling reference too.

    `root` is the folder `baselines`; `shipped` the one that came with the suite, where it counts
    too. Raises UsageError for a selector that names nothing.
    """
    chosen = select_baseline(
        root, selector, identity=identity, version=version, profile=profile, shipped=shipped
    )
    pinned = rolling = None
    elsewhere: RunWarning | None = None
    if selector == "auto":
        if chosen is not None and (fields := _other_machine(chosen, identity)):
            # It was not asked for, and no measuring on this machine makes it comparable.
            elsewhere = RunWarning(code="elsewhere", version=chosen.version, fields=fields)
            chosen = None
        pinned = pinned_baseline(root, identity)
        if pinned is None and shipped is not None:
            pinned = pinned_baseline(shipped, identity)
        if pinned is not None and _other_machine(pinned, identity):
            pinned = None
        if pinned is not None and chosen is not None and pinned.created_at == chosen.created_at:
            pinned = None
        rolling = _rolling(report_dir, identity, profile, now)
    warnings = [
        warning
        for run in (chosen, pinned)
        if run is not None and (warning := expiry_warning(run, profile, now)) is not None
    ]
    if elsewhere is not None and pinned is None and rolling is None:
        warnings.append(elsewhere)
    noise = _site_noise(root, identity, profile, shipped)
    return References(chosen, pinned, rolling, tuple(warnings), noise)


def _other_machine(run: Run, identity: dict[str, Any]) -> list[str]:
    """The fields by which a stored run is of another machine; the study's table is of none."""
    if run.provenance == "study":
        return []
    differing = identity_differences(identity, identity_of(run))
    return [field for field in differing if field in MACHINE]


def _site_noise(
    root: Path, identity: dict[str, Any], profile: Profile, shipped: Path | None
) -> NoiseRecord | None:
    if not identity.get("device") or not identity.get("model", {}).get("name"):
        return None  # a running server that does not tell: nothing is stored for it
    known = [
        stored.run
        for stored in stored_baselines(root, identity, shipped=shipped)
        if stored.run.noise is not None
        and not identity_differences(
            identity, identity_of(stored.run), profile.identity_not_binding
        )
    ]
    newest = max(known, key=lambda run: run.created_at, default=None)
    return None if newest is None else newest.noise


def _rolling(
    report_dir: Path, identity: dict[str, Any], profile: Profile, now: datetime
) -> Run | None:
    """The last sessions of this identity as one run; None with fewer than two of them."""
    entries = [
        entry
        for entry in load(report_dir)
        if entry.whole
        and entry.created_at < now
        and not identity_differences(identity, entry.identity, profile.identity_not_binding)
    ]
    folders = [report_dir / e.path for e in _whole(entries, profile)[-profile.rolling_runs :]]
    # CI may have pruned some.
    runs = [
        read_run(folder, option="history") for folder in folders if (folder / RUN_FILE).is_file()
    ]
    runs = [run for run in runs if shares_points(run, profile)]
    nights = [usable(run.starts, "candidate") for run in runs]
    nights = [starts for starts in nights if starts]
    if len(nights) < 2:
        return None
    # Sessions of several versions scatter by what the versions differ: that is no noise.
    one_version = len({run.version for run in runs}) == 1
    # Every session's candidate may have been called the same.
    return (
        runs[-1]
        .labelled()
        .model_copy(
            update={
                "starts": [start for night in nights for start in night],
                "noise": noise_of(nights, profile.plane) if one_version else None,
                "comparison": None,
            }
        )
    )


def _whole(entries: Sequence[Entry], profile: Profile) -> list[Entry]:
    """Those that measured all they could: of one definition, the most of the profile's points.

    What a run was told of its purpose it may have been told wrongly, and one of selected
    experiments would thin out what the others share.
    """
    points = {point.label for point in profile.points}
    most: dict[str, int] = {definition_of(profile): len(points)}
    for entry in entries:
        shared = len(points & entry.points)
        most[entry.definition] = max(most.get(entry.definition, 0), shared)
    return [e for e in entries if len(points & e.points) == most[e.definition]]


def compared_with(run: Run, comparison: Comparison, root: Path, shipped: Path | None) -> Run | None:
    """The stored run that `comparison` of `run` was made with; None where it is not there any more.

    `root` is the folder `baselines`, `shipped` as in `gather`. One that was stored anew since is
    another run.
    """
    if comparison.kind != "baseline" or comparison.role == "rolling":
        return None
    version = comparison.reference_version or comparison.reference
    of_study = comparison.provenance == "study"
    named = run.identity.get("device") and run.identity.get("model", {}).get("name")
    known = stored_baselines(root, run.identity, shipped=shipped) if named else []
    for stored in known:
        if (stored.run.provenance == "study") != of_study:
            continue
        if (of_study or stored.version == version) and stored.run.created_at < run.created_at:
            return stored.run
    return None
