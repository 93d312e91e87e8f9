"""The wheels of an offline kit: which ones SGLang asks for, downloaded and made smaller."""

from __future__ import annotations

import csv
import fnmatch
import importlib.metadata
import io
import lzma
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from packaging.metadata import Metadata
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name, parse_wheel_filename

from append_prefill.engines.kit.chunks import CHUNK_BYTES, MIB, KitError
from append_prefill.engines.versions.packages import (
    BOUND_IF_BARE,
    KERNEL_PACKAGES,
    KERNEL_PARTS,
    NOT_DECLARED,
    NOT_FOR_SERVING,
)

# Below it recompressing saves less than a chunk's rounding.
COMPRESS_FROM_BYTES = 8 * MIB
# Attention kernels for many shapes repeat each other over hundreds of megabytes: with a dictionary
# that spans the file even the quickest preset takes flash_ops of 0.4.5 from 1,071 to 125 MiB, in
# two minutes; the node needs as much memory as the dictionary has while it unpacks.
XZ_LARGE_FROM_BYTES = 256 * MIB
XZ_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 128 * MIB}]
XZ_LARGE_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 1, "dict_size": 1024 * MIB}]

SUITE = "append-prefill"

TARGET_OWN = ("torch", "torchaudio", "torchvision", "triton")
"""What the node must have already: with CUDA's libraries several gigabytes."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a kit is made for. `have`: canonical package name to version, None if unknown."""

    sglang: str
    python: str = "3.12"
    have: dict[str, str | None] = field(default_factory=dict)
    without: frozenset[str] = frozenset()

    @property
    def dropped_patterns(self) -> list[str]:
        return [KERNEL_PARTS[name] for name in sorted(self.without & KERNEL_PARTS.keys())]


@dataclass(frozen=True, slots=True)
class Collected:
    """The wheels of a kit; `left_out` gives for each package not carried who asked for it."""

    wheels: dict[str, Path]
    left_out: dict[str, list[str]]


def read_have(path: Path) -> dict[str, str | None]:
    """Packages of the node, from `pip freeze` or `pip list --format=freeze` run there."""
    have: dict[str, str | None] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.split("#", 1)[0].strip()
        if not text or text.startswith("-"):
            continue
        name, pinned, version = text.partition("==")
        have[canonicalize_name(name.split("@", 1)[0].strip())] = version.strip() if pinned else None
    return have


def collect(wanted: Wanted, folder: Path) -> Collected:
    """Download into `folder` what SGLang and this suite ask for and the node lacks.

    Follows `Requires-Dist` from wheel to wheel, evaluated for the node; a wheel that is in
    `folder` already is not fetched again. Raises KitError if a wheel cannot be had.
    """
    folder.mkdir(parents=True, exist_ok=True)
    refused = {canonicalize_name(n) for n in (*TARGET_OWN, *NOT_FOR_SERVING, *wanted.without)}
    specifiers: dict[str, SpecifierSet] = {}
    extras: dict[str, set[str]] = {}
    left_out: dict[str, list[str]] = {}
    wheels: dict[str, Path] = {}
    expanded: set[tuple[str, Path, frozenset[str]]] = set()
    pending = [(Requirement(f"sglang=={wanted.sglang}"), "")]
    pending += [(Requirement(text), "sglang") for text in NOT_DECLARED]
    pending += [(requirement, SUITE) for requirement in suite_requirements()]
    while pending:
        names = []
        for requirement, asked_by in pending:
            name = canonicalize_name(requirement.name)
            known = specifiers.get(name, SpecifierSet())
            specifiers[name] = known & (requirement.specifier or BOUND_IF_BARE.get(name, known))
            extras.setdefault(name, set()).update(requirement.extras)
            if _is_there(name, specifiers[name], wanted.have):
                continue
            if name in refused:
                left_out.setdefault(name, []).append(asked_by)
            elif name not in names:
                names.append(name)
        _download(
            [f"{n}{specifiers[n]}" for n in names if _find(folder, n, specifiers[n]) is None],
            folder,
            wanted.python,
        )
        pending = []
        for name in names:
            wheel = _find(folder, name, specifiers[name])
            if wheel is None:
                raise KitError(f"pip downloaded no wheel of {name}{specifiers[name]}")
            wheels[name] = wheel
            key = (name, wheel, frozenset(extras[name]))
            if key not in expanded:
                expanded.add(key)
                asked = _requirements(wheel, extras[name], wanted.python)
                pending += [(requirement, name) for requirement in asked]
    return Collected(wheels, left_out)


def suite_requirements() -> list[Requirement]:
    """What this suite needs to run, without its extras."""
    try:
        asked = importlib.metadata.requires(SUITE) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise KitError(f"{SUITE} is not installed here: run `pip install -e .` first") from error
    found = [Requirement(text) for text in asked]
    return [r for r in found if r.marker is None or r.marker.evaluate({"extra": ""})]


def _is_there(name: str, specifier: SpecifierSet, have: dict[str, str | None]) -> bool:
    if name not in have:
        return False
    version = have[name]
    return version is None or specifier.contains(version, prereleases=True)


def _find(folder: Path, name: str, specifier: SpecifierSet) -> Path | None:
    """The newest wheel of a package in `folder` that fits."""
    fitting = []
    for path in folder.glob("*.whl"):
        found, version, _, _ = parse_wheel_filename(path.name)
        if found == name and specifier.contains(version, prereleases=True):
            fitting.append((version, path))
    return max(fitting)[1] if fitting else None


def _requirements(wheel: Path, extras: set[str], python: str) -> list[Requirement]:
    """What a wheel requires on the node: Linux on x86-64, CPython of that version."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = Metadata.from_email(archive.read(name), validate=False)
    environment = {
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
    }
    return [
        requirement
        for requirement in metadata.requires_dist or []
        if requirement.marker is None
        or any(
            requirement.marker.evaluate({**environment, "extra": extra})
            for extra in ("", *sorted(extras))
        )
    ]


def _download(requirements: Sequence[str], folder: Path, python: str) -> None:
    if not requirements:
        return
    tag = python.replace(".", "")
    # pip takes a platform at its word, so every glibc up to the node's is named; 2.39 is
    # Ubuntu 24.04's.
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in range(39, 4, -1)]
    platforms += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--quiet", "--dest", str(folder)]
    command += ["--python-version", python, "--implementation", "cp"]
    for abi in (f"cp{tag}", "abi3", "none"):
        command += ["--abi", abi]
    for platform in platforms:
        command += ["--platform", platform]
    done = subprocess.run([*command, *requirements], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        errors = [x for x in done.stderr.splitlines() if x.startswith("ERROR")] or [done.stderr]
        raise KitError(
            "pip could not download every wheel; leave a package out with --without NAME, or name "
            "it in --have if the node has it. pip said: " + " ".join(errors)
        )


def repack(wheel: Path, folder: Path, drop: Sequence[str], *, stored: bool) -> Path:
    """Write a wheel again without the members that match `drop`; its name stays.

    `stored` leaves the members uncompressed, for a stronger compressor around the whole.
    """
    result = folder / wheel.name
    method = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(result, "w", method) as new:
        for info in old.infolist():
            if _matches(info.filename, drop):
                continue
            # The entry keeps its time and permissions, so the same wheel gives the same bytes.
            entry = zipfile.ZipInfo(info.filename, info.date_time)
            entry.external_attr, entry.compress_type = info.external_attr, method
            if info.filename.endswith(".dist-info/RECORD"):
                new.writestr(entry, _record_without(old.read(info).decode(), drop))
                continue
            entry.file_size = info.file_size
            with old.open(info) as source, new.open(entry, "w") as sink:
                shutil.copyfileobj(source, sink, CHUNK_BYTES)
    return result


def _record_without(record: str, drop: Sequence[str]) -> str:
    kept = io.StringIO()
    rows = (row for row in csv.reader(io.StringIO(record)) if row and not _matches(row[0], drop))
    csv.writer(kept, lineterminator="\n").writerows(rows)
    return kept.getvalue()


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def part_sizes_bytes(kernel_wheel: Path) -> dict[str, int]:
    """What each of `KERNEL_PARTS` takes of a kernel wheel as downloaded."""
    with zipfile.ZipFile(kernel_wheel) as archive:
        members = archive.infolist()
    return {
        part: sum(m.compress_size for m in members if _matches(m.filename, [pattern]))
        for part, pattern in KERNEL_PARTS.items()
    }


def prepare(
    collected: Collected, wanted: Wanted, folder: Path, *, compress: bool
) -> list[tuple[Path, Path]]:
    """(file to travel, wheel it stands for) of every wheel: parts dropped, big ones as .whl.xz."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    prepared = []
    for name, wheel in sorted(collected.wheels.items()):
        drop = wanted.dropped_patterns if name in KERNEL_PACKAGES else []
        smaller = compress and wheel.stat().st_size >= COMPRESS_FROM_BYTES
        if not drop and not smaller:
            prepared.append((wheel, wheel))
            continue
        final = repack(wheel, folder, drop, stored=smaller)
        travels = final
        if smaller and final.stat().st_size >= COMPRESS_FROM_BYTES:
            travels = final.with_name(final.name + ".xz")
            large = final.stat().st_size >= XZ_LARGE_FROM_BYTES
            filters = XZ_LARGE_FILTERS if large else XZ_FILTERS
            with (
                final.open("rb") as source,
                lzma.open(travels, "wb", check=lzma.CHECK_CRC32, filters=filters) as sink,
            ):
                shutil.copyfileobj(source, sink, CHUNK_BYTES)
        prepared.append((travels, final))
    return prepared
