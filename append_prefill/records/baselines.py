"""Stored baselines: `baselines/<device>/<model>/<sglang version>.json`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

from append_prefill.errors import UsageError
from append_prefill.records.identity import (
    identity_differences,
    identity_of,
)
from append_prefill.records.pinned import PINNED_FILE, read_pinned, read_pinned_run
from append_prefill.records.run import Run
from append_prefill.records.store import read_run, run_text, write_whole
from append_prefill.workload.points import Point

# 0.1 µs: three orders below the 20 ms and the 1.5 % anyone acts on, and a third of the bytes.
_DECIMALS = 4
# 255 bytes are a file's name at the most, with its suffix and what is added while it is written.
_NAME_CHARACTERS = 128
_DELETE = "Delete that file in the same commit if nobody compares with it any more."


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored baseline. `pinned` marks the folder's pinned reference."""

    path: Path
    run: Run
    pinned: bool

    @property
    def version(self) -> str:
        """The version the file is named after."""
        return self.run.version or self.path.stem

    @property
    def device(self) -> str:
        return self.path.parent.parent.name

    @property
    def model(self) -> str:
        return self.path.parent.name


def stored_baselines(
    root: Path, identity: Mapping[str, Any] | None = None, *, shipped: Path | None = None
) -> list[Stored]:
    """The baselines under `root` (the folder `baselines`), by device, model and version.

    `identity` narrows them to its device and model. `shipped` is a second such folder: what it
    has of a device, model and version that `root` has not counts too. Raises UsageError for a file
    that is no valid record.
    """
    pattern = "*/*/*.json"
    if identity is not None:
        pattern = f"{baseline_folder(root, identity).relative_to(root)}/*.json"
    paths: dict[Path, Path] = {}
    for top in (root,) if shipped is None else (root, shipped):
        for path in sorted(top.glob(pattern)):
            if path.name != PINNED_FILE:
                paths.setdefault(path.relative_to(top), path)
    found = [
        Stored(path, read_run(path, option="baseline"), _is_pinned(path)) for path in paths.values()
    ]
    return sorted(found, key=lambda s: (s.device, s.model, _sort_key(s.version)))


def baseline_folder(root: Path, identity: Mapping[str, Any]) -> Path:
    """`root`/<device>/<model>; a MIG slice has its own device.

    Raises UsageError if the identity names no device or no model.
    """
    device = identity.get("device")
    model = identity.get("model", {}).get("name")
    if not device or not model:
        raise UsageError(
            "--baseline",
            "",
            f"this run has no device or model name (device {device!r}, model {model!r}), so no "
            "baseline can belong to it.",
            "Use --baseline none, or a profile whose model has a name.",
        )
    mig = identity.get("mig")
    name = f"{device} MIG {mig}" if mig and mig != "off" else str(device)
    return root / slug(name) / slug(str(model).rstrip("/").rsplit("/", 1)[-1])


def baseline_path(root: Path, identity: Mapping[str, Any], version: str | None) -> Path:
    """Where the baseline of that identity and version lies. Raises UsageError without either."""
    if not version:
        raise UsageError(
            "--save-baseline",
            "",
            "the server did not tell its SGLang version, after which baselines are named.",
            "Let the suite start the server (--sglang).",
        )
    return baseline_folder(root, identity) / f"{slug(version)}.json"


def refuse_overwrite(
    root: Path,
    identity: Mapping[str, Any],
    version: str | None,
    *,
    not_binding: Collection[str] = (),
    onto_pinned: bool = False,
    points: Collection[Point] | None = None,
) -> Path:
    """The path a baseline would be saved to.

    Raises UsageError if what lies there is the pinned reference (unless `onto_pinned`), the record
    of another identity, or one with planned points beside `points`, those to be saved (None: the
    record stays, and only its noise is written). Everything it needs is known before a server
    starts, so call it then.
    """
    path = baseline_path(root, identity, version)
    if _is_pinned(path) and not onto_pinned:
        raise UsageError(
            "--save-baseline",
            path,
            "is the pinned reference, which no run overwrites.",
            "Measure without it, then: append-prefill baselines promote run.json --reason TEXT.",
        )
    if path.is_file():
        there = read_run(path, option="--save-baseline")
        differing = identity_differences(identity, identity_of(there), not_binding)
        if differing:
            raise UsageError(
                "--save-baseline",
                path,
                f"holds a run of another identity ({', '.join(differing)} differ), and would be "
                "lost.",
                _DELETE,
            )
        lost = () if points is None else {Point(*p) for p in there.plan.points}.difference(points)
        if lost:
            raise UsageError(
                "--save-baseline",
                path,
                f"has points that this run does not measure "
                f"({', '.join(point.label for point in sorted(lost))}), and they would be lost.",
                _DELETE,
            )
    return path


def save_baseline(
    run: Run, root: Path, *, not_binding: Collection[str] = (), onto_pinned: bool = False
) -> Path:
    """Store `run` as the baseline of its device, model and version; returns the path.

    Kept is what a comparison needs: the candidate's whole launches with their samples (rounded to
    0.1 µs) and those of its control, points, findings, surface, noise. Left out are the device
    readings of each block, a reference's launches, the comparison and what confirms it, which are
    about other runs.
    Raises UsageError as `refuse_overwrite`, and for a run that holds nothing to compare with: none
    valid, one launch, or launches of a running server.
    """
    path = refuse_overwrite(
        root,
        identity_of(run),
        run.version,
        not_binding=not_binding,
        onto_pinned=onto_pinned,
        points=[Point(*point) for point in run.plan.points],
    )
    starts = [s for s in run.starts if s.side == "candidate" and s.usable]
    pinned = run.plan.control
    control = [] if pinned is None else [other for _, other in run.control_pairs(pinned)]
    for unfit, problem, remedy in (
        (
            run.verdict == "infrastructure" or not (starts or run.provenance == "study"),
            "this run holds no valid launch to compare with.",
            "Fix what its warnings name and measure again.",
        ),
        (
            not run.replicated,
            "this run is of a running server, whose launches cannot be replicated.",
            "Let the suite start the server (--sglang).",
        ),
        (
            run.plan.starts == 1 and run.provenance != "study",
            "this run was planned with one launch, so it shows no launch-to-launch scatter.",
            "Measure at least two launches (five is the profiles' default).",
        ),
    ):
        if unfit:
            raise UsageError("--save-baseline", path, problem, remedy)
    noise = run.noise
    if noise is None and path.is_file():
        # Measured apart from the run (`append-prefill noise`), and still true of this identity.
        noise = read_run(path, option="--save-baseline").noise
    # What it was called beside another side says nothing later on: stored, it is its version.
    slim = run.labelled().model_copy(
        update={
            "noise": noise,
            "starts": [
                start.model_copy(
                    update={
                        "state": [b.model_copy(update={"readings": {}}) for b in start.state],
                        "series": [
                            series.model_copy(
                                update={
                                    "ttft_ms": _rounded(series.ttft_ms),
                                    "e2e_ms": _rounded(series.e2e_ms),
                                    "itl_ms": _rounded(series.itl_ms),
                                }
                            )
                            for series in start.series
                        ],
                    }
                )
                for start in [*starts, *control]
            ],
            "comparison": None,
            "confirms": None,
            "confirmations": [],
        }
    )
    return write_whole(path, run_text(slim))


def pinned_baseline(root: Path, identity: Mapping[str, Any]) -> Run | None:
    """The pinned reference of this device and model; None if nothing is pinned.

    Raises UsageError if what `pinned.json` names is gone or is not what was pinned.
    """
    return read_pinned_run(baseline_folder(root, identity))


def slug(text: str) -> str:
    """`NVIDIA H100 80GB HBM3` as `nvidia-h100-80gb-hbm3`: safe as a folder's or file's name.

    Of a longer one than a file system takes the beginning, and a digest that tells it from others.
    """
    made = re.sub(r"[^a-z0-9.+_]+", "-", text.lower()).strip("-.")
    if len(made) <= _NAME_CHARACTERS:
        return made
    return f"{made[:_NAME_CHARACTERS]}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _is_pinned(path: Path) -> bool:
    pinned = read_pinned(path.parent)
    return pinned is not None and pinned.names(path)


def parsed_version(version: str | None) -> Version | None:
    """None for one that cannot be ordered: unknown, or not PEP 440."""
    try:
        return None if version is None else Version(version)
    except InvalidVersion:
        return None


def _sort_key(version: str) -> tuple[bool, Version, str]:
    parsed = parsed_version(version)
    return (parsed is not None, parsed or Version("0"), version)


def _rounded(values: Sequence[float | None]) -> list[float | None]:
    return [None if value is None else round(value, _DECIMALS) for value in values]
