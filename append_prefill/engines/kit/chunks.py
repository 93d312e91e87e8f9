"""The chunks of an offline kit: cut on one side, verified and installed on the other.

    python kit.py install --shares share-01 share-02 ... --env DIR      (on the node)

This file travels in every chunk under the name kit.py and is all that the node runs. It therefore
imports nothing but the standard library, and starts pip in a process of its own. How a kit is
made is in `append_prefill.engines.kit.__main__`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import lzma
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SCHEMA = "append-prefill/kit/1"
MANIFEST = "manifest.json"
INSTALLER = "kit.py"
MIB = 2**20

# Room in each chunk for the manifest (some 200 bytes a file) and this file.
SHARE_RESERVE_BYTES = 256 * 1024
CHUNK_BYTES = MIB


class KitError(Exception):
    """The kit cannot be built or installed; the text says why and what to do."""


# --- cutting ------------------------------------------------------------------------------------


def share_room_bytes(share_bytes: int) -> int:
    """What of a chunk is left for wheels. Raises KitError for a size that holds nothing."""
    room = share_bytes - SHARE_RESERVE_BYTES
    if room < CHUNK_BYTES:
        raise KitError(f"chunks of {share_bytes} bytes are too small; 2 MiB is the least")
    return room


def write_shares(
    prepared: Sequence[tuple[Path, Path]],
    out: Path,
    share_bytes: int,
    about: dict[str, Any],
) -> list[Path]:
    """Cut the files, one after the other, into chunks of at most `share_bytes` each.

    `prepared` gives (file to travel, wheel it stands for), `about` what the manifest says beside
    the files; `install` reads its `sglang` and `python`. Files are cut where a chunk is full, so
    there are as few chunks as can be. Every chunk holds the whole manifest and this file. Raises
    KitError for a size that holds nothing.
    """
    room = share_room_bytes(share_bytes)
    for old in out.glob("share-*"):
        shutil.rmtree(old)
    folders: list[Path] = []
    free = 0
    entries: list[dict[str, Any]] = []
    for travels, final in prepared:
        parts: list[dict[str, Any]] = []
        with travels.open("rb") as source:
            while True:
                if free == 0:
                    folders.append(out / f"share-{len(folders) + 1:02d}")
                    folders[-1].mkdir(parents=True)
                    free = room
                name = f"{travels.name}.{len(parts):03d}"
                size, digest = _copy(source, folders[-1] / name, free)
                if size == 0:
                    (folders[-1] / name).unlink()
                    break
                free -= size
                parts.append(
                    {"share": folders[-1].name, "file": name, "bytes": size, "sha256": digest}
                )
        entries.append(
            {
                "wheel": final.name,
                "bytes": final.stat().st_size,
                "sha256": _sha256_of(final),
                "xz": travels != final,
                "parts": parts,
            }
        )
    used = {part["share"] for entry in entries for part in entry["parts"]}
    for folder in [f for f in folders if f.name not in used]:
        shutil.rmtree(folder)
        folders.remove(folder)
    manifest = {"schema": SCHEMA, **about, "shares": [f.name for f in folders], "wheels": entries}
    text = json.dumps(manifest, indent=1, sort_keys=True)
    for folder in folders:
        (folder / MANIFEST).write_text(text, encoding="utf-8")
        shutil.copyfile(__file__, folder / INSTALLER)
    return folders


def _copy(source: Any, path: Path, limit: int) -> tuple[int, str]:
    """Copy at most `limit` bytes into a new file; returns how many, and their SHA-256."""
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as sink:
        while size < limit and (chunk := source.read(min(CHUNK_BYTES, limit - size))):
            sink.write(chunk)
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()


def _sha256_of(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


# --- installing ---------------------------------------------------------------------------------


def install(shares: Sequence[Path], env: Path, *, dry_run: bool = False) -> str:
    """Verify the chunks and make `env` an environment with their wheels; returns a sentence.

    `env`/bin/python then finds the kit's packages first and after them those of the Python that
    runs this, torch among them. Does nothing if this very kit is there. Raises KitError for a
    chunk that is missing, damaged or of another kit, and for a Python the kit was not made for.
    """
    manifest, folders = _read_manifest(shares)
    python = ".".join(map(str, sys.version_info[:2]))
    if python != manifest["python"]:
        raise KitError(f"this kit is for Python {manifest['python']}, this is {python}")
    stamp = env / f".kit-{hashlib.sha256(json.dumps(manifest).encode()).hexdigest()[:16]}"
    if stamp.exists():
        return f"SGLang {manifest['sglang']} is already in {env}."
    env.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kit-", dir=env.parent) as work:
        wheels = [_restore(entry, folders, Path(work)) for entry in manifest["wheels"]]
        if dry_run:
            return f"SGLang {manifest['sglang']}: {len(wheels)} wheels are whole."
        packages = _make_environment(env)
        command = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--quiet"]
        command += ["--disable-pip-version-check", "--upgrade", "--target", str(packages)]
        status = subprocess.run([*command, *map(str, wheels)], check=False).returncode
        if status != 0:
            raise KitError(f"pip install into {packages} ended with status {status}")
    stamp.touch()
    return f"SGLang {manifest['sglang']} installed: {env.resolve() / 'bin' / 'python'}"


def _make_environment(env: Path) -> Path:
    """An interpreter in `env` that also sees this one's packages; returns its package folder.

    `--system-site-packages` would not do: made from an environment it shows the packages of the
    Python below it.
    """
    venv.EnvBuilder(clear=True, symlinks=True).create(env)
    packages = next((env / "lib").glob("python*")) / "site-packages"
    own = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    lines = [f"import site; site.addsitedir({path!r})\n" for path in own]
    (packages / "packages-of-the-node.pth").write_text("".join(lines), encoding="utf-8")
    return packages


def _read_manifest(shares: Sequence[Path]) -> tuple[dict[str, Any], dict[str, Path]]:
    found: dict[str, Path] = {}
    manifests: dict[str, dict[str, Any]] = {}
    for folder in shares:
        path = folder / MANIFEST
        if not path.is_file():
            raise KitError(f"{folder} is no chunk of a kit: it has no {MANIFEST}")
        text = path.read_text(encoding="utf-8")
        manifests[text] = json.loads(text)
        # A chunk may have been renamed on its way: its files say which one it is.
        for entry in manifests[text].get("wheels", []):
            for part in entry["parts"]:
                if (folder / part["file"]).is_file():
                    found[part["share"]] = folder
    if len(manifests) != 1:
        raise KitError(f"the chunks belong to {len(manifests)} different kits, one is needed")
    manifest = next(iter(manifests.values()))
    if manifest.get("schema") != SCHEMA:
        raise KitError(f"a kit of schema {manifest.get('schema')}, this installs {SCHEMA}")
    missing = [name for name in manifest["shares"] if name not in found]
    if missing:
        raise KitError(f"these chunks are missing: {', '.join(missing)}")
    return manifest, found


def _restore(entry: dict[str, Any], folders: dict[str, Path], work: Path) -> Path:
    """Join, check and unpack the parts of one wheel into `work`."""
    joined = work / (entry["wheel"] + (".xz" if entry["xz"] else ""))
    with joined.open("wb") as sink:
        for part in entry["parts"]:
            path = folders[part["share"]] / part["file"]
            if not path.is_file():
                raise KitError(f"{path} is missing")
            if _sha256_of(path) != part["sha256"]:
                raise KitError(f"{path} is damaged (its SHA-256 differs): carry its chunk again")
            with path.open("rb") as source:
                shutil.copyfileobj(source, sink, CHUNK_BYTES)
    wheel = work / str(entry["wheel"])
    if entry["xz"]:
        with lzma.open(joined) as packed, wheel.open("wb") as sink:
            shutil.copyfileobj(packed, sink, CHUNK_BYTES)
        joined.unlink()
    if _sha256_of(wheel) != entry["sha256"]:
        raise KitError(f"{entry['wheel']} is not what was packed (its SHA-256 differs)")
    return wheel


# --- command line -------------------------------------------------------------------------------


def add_install(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Give a command line the command `install`, the same for the suite and for the node."""
    command = commands.add_parser("install", help="verify and install, on the node")
    command.add_argument("--shares", required=True, type=Path, nargs="+", metavar="DIR")
    command.add_argument("--env", required=True, type=Path, metavar="DIR")
    command.add_argument("--check", action="store_true", help="verify, install nothing")
    command.set_defaults(run=_install)


def _install(options: argparse.Namespace) -> None:
    print(install(options.shares, options.env, dry_run=options.check))


def run(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> int:
    """Run the command asked for; exit status 2 with the reason on stderr if it cannot be done."""
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except KitError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point on the node, which can only install; exit status as of `run`."""
    parser = argparse.ArgumentParser(prog="kit", description="Install SGLang from a kit's chunks.")
    add_install(parser.add_subparsers(dest="command", required=True))
    return run(parser, arguments)


if __name__ == "__main__":
    sys.exit(main())
