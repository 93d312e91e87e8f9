"""Which of the stored baselines a run is held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from append_prefill.errors import UsageError
from append_prefill.records.baselines import (
    Stored,
    baseline_folder,
    parsed_version,
    stored_baselines,
)
from append_prefill.records.grounds import RunWarning
from append_prefill.records.identity import (
    identity_differences,
    identity_of,
)
from append_prefill.records.run import Run
from append_prefill.records.store import read_run
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Profile


def select_baseline(
    root: Path,
    selector: str,
    *,
    identity: Mapping[str, Any],
    version: str | None,
    profile: Profile,
    shipped: Path | None = None,
) -> Run | None:
    """The run that `--baseline` means; `identity` and `version` are the candidate's.

    `shipped` as in `stored_baselines`.

    - `none`: None.
    - `auto`: of the baselines of this device and model whose version is older than the
      candidate's, the newest with the same identity and a point in common; failing that the
      newest of another identity (so that the caller can name the fields that differ), failing
      that the study's. None if there is no older one, or the candidate's version cannot be
      ordered (unknown, or not PEP 440).
    - VERSION: that version's, the candidate's own included: a nightly of the same version against
      its stored self is a fair question when asked.
    - FILE (ends in `.json`, or has a path separator): that record, or the `run.json` in that
      folder.

    Whether the identities agree is the caller's to check (`identity.differences`): a record that
    cannot be compared is still returned. Raises UsageError for a version that is not stored,
    naming those that are, and for a file that cannot be read.
    """
    if selector == "none":
        return None
    if is_file_selector(selector):
        return read_run(Path(selector), option="--baseline")
    stored = stored_baselines(root, identity, shipped=shipped)
    if selector == "auto":
        return _newest_older(stored, identity, version, profile)
    for candidate in stored:
        if _same_version(candidate.version, selector):
            return candidate.run
    raise _unknown_version("--baseline", selector, stored, baseline_folder(root, identity))


def find_stored(
    root: Path, version: str, folder: str | None = None, *, shipped: Path | None = None
) -> Stored:
    """The stored baseline of that version, wherever under `root`.

    `folder` (`<device>/<model>`) tells apart what several devices or models have; `shipped` as in
    `stored_baselines`. Raises UsageError if there is none, or more than one.
    """
    stored = [
        s
        for s in stored_baselines(root, shipped=shipped)
        if folder in (None, f"{s.device}/{s.model}")
    ]
    found = [s for s in stored if _same_version(s.version, version)]
    if not found:
        raise _unknown_version("VERSION", version, stored, root / (folder or ""))
    if len(found) > 1:
        folders = ", ".join(f"{s.device}/{s.model}" for s in found)
        raise UsageError(
            "VERSION",
            version,
            f"is stored for more than one device or model: {folders}.",
            "Say which with --folder DEVICE/MODEL.",
        )
    return found[0]


def is_file_selector(selector: str) -> bool:
    """Whether a selector names a file rather than a version."""
    return selector.endswith(".json") or "/" in selector


def shares_points(run: Run, profile: Profile) -> bool:
    """Whether the run was planned to measure any point of the profile's."""
    return not {Point(*point) for point in run.plan.points}.isdisjoint(profile.points)


def expiry_warning(baseline: Run, profile: Profile, now: datetime) -> RunWarning | None:
    """What to warn of a baseline that is older than the profile allows; None while it is not.

    The study's never expires: it is history, and reaches no verdict.
    """
    age_days = (now - baseline.created_at).total_seconds() / 86_400
    if baseline.provenance == "study" or age_days <= profile.baseline_max_age_days:
        return None
    return RunWarning(
        code="baseline-expired",
        version=baseline.version,
        value=age_days,
        limit=profile.baseline_max_age_days,
    )


def _newest_older(
    stored: Sequence[Stored],
    identity: Mapping[str, Any],
    version: str | None,
    profile: Profile,
) -> Run | None:
    limit = parsed_version(version)
    if limit is None:
        return None
    older = []
    for candidate in stored:
        parsed = parsed_version(candidate.version)
        if parsed is not None and parsed < limit:
            same = not identity_differences(
                identity, identity_of(candidate.run), profile.identity_not_binding
            ) and shares_points(candidate.run, profile)
            measured = candidate.run.provenance == "suite"
            older.append(((measured, same, parsed), candidate.run))
    return max(older, key=lambda entry: entry[0])[1] if older else None


def _unknown_version(
    option: str, version: str, stored: Sequence[Stored], folder: Path
) -> UsageError:
    known = ", ".join(dict.fromkeys(s.version for s in stored))  # several devices have one
    return UsageError(
        option,
        version,
        f"is not stored in {folder}.",
        f"Stored there: {known}." if known else "Nothing is stored there: use --save-baseline.",
    )


def _same_version(one: str, other: str) -> bool:
    parsed = parsed_version(one)
    return one == other or (parsed is not None and parsed == parsed_version(other))
