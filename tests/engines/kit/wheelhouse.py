"""Wheels made by hand and a folder that stands in for an index: no network."""

import random
import zipfile
from pathlib import Path

import pytest

from append_prefill.engines.kit import wheels


def make_wheel(
    folder: Path,
    name: str,
    version: str = "1.0",
    *,
    requires: tuple[str, ...] = (),
    files: dict[str, bytes] | None = None,
    tag: str = "py3-none-any",
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    content = {f"{module}/__init__.py": f"__version__ = {version!r}\n".encode()} | (files or {})
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {r}\n" for r in requires)
    content[f"{info}/METADATA"] = metadata.encode()
    content[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n".encode()
    content[f"{info}/RECORD"] = "".join(f"{n},,{len(c)}\n" for n, c in content.items()).encode()
    path = folder / f"{module}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in content.items():
            archive.writestr(member, data)
    return path


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def index_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that `pip download` reads instead of an index; what the suite needs is left out."""
    place = folder / "index"
    place.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(place))
    monkeypatch.setattr(wheels, "suite_requirements", list)
    monkeypatch.setattr(wheels, "NOT_DECLARED", ())
    return place
