"""An offline kit: one SGLang version carried to a GPU node that reaches no package index.

    python -m append_prefill.engines.kit plan  --sglang 0.5.17 --have freeze.txt --out kit
    python -m append_prefill.engines.kit build --sglang 0.5.17 --have freeze.txt --out kit
    python kit.py install --shares share-01 share-02 ... --target DIR      (on the node)

`build` downloads the wheels that SGLang asks for and the node lacks, and cuts them into shares of
a size that can travel, each with the manifest and this file. `install` needs Python, pip and every
share, nothing else; the server then runs with DIR on its PYTHONPATH. torch stays the node's own.

Not for installing where an index is reachable: `tox -e sglang-VERSION` is.
"""

from __future__ import annotations

import argparse
import csv
import fnmatch
import hashlib
import io
import json
import lzma
import math
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # The node may lack it: imported only by what builds.
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

SCHEMA = "append-prefill/kit/1"
MANIFEST = "manifest.json"
MIB = 2**20

# Room in each share for the manifest (some 200 bytes a file) and this file.
SHARE_RESERVE_BYTES = 256 * 1024
# Below it recompressing saves less than a share's rounding.
COMPRESS_FROM_BYTES = 8 * MIB
# Kernels for several chips repeat each other over tens of megabytes; 128 MiB of dictionary see
# that, and cost as much memory on the node.
XZ_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 128 * MIB}]
CHUNK_BYTES = MIB

TARGET_OWN = ("torch", "torchaudio", "torchvision", "triton")
"""What the node must have already: with CUDA's libraries several gigabytes."""

NOT_FOR_SERVING = (
    "anthropic", "av", "blobfile", "build", "datasets", "decord2", "easydict", "flash-attn-4",
    "helion", "humming-kernels", "interegular", "llguidance", "mistral-common",
    "modelscope", "numba", "nvidia-cutlass-dsl", "nvidia-mathdx", "openai-harmony", "outlines",
    "py-spy", "quack-kernels", "sgl-deep-gemm", "smg-grpc-servicer", "tilelang", "timm",
    "tokenspeed-mla", "torchao", "torchcodec",
)  # fmt: skip
"""What SGLang's metadata asks for and a server of one dense bf16 model does not load.

Read off 0.5.17 by following the imports at module level from `launch_server`, the scheduler, the
model runner, Llama and the Triton and FlashAttention backends: none of these is reached outside a
function or a `try`. They serve grammars, quantised weights, other chips, images, evaluation.
"""

PARTS = {
    # parts of the kernel wheel that `--without` can leave out
    "flash_ops": "sgl_kernel/flash_ops*",  # FlashAttention 3; then --attention-backend triton
    "flashmla_ops": "sgl_kernel/flashmla_ops*",  # attention of DeepSeek's models
    "infllm_ops": "sgl_kernel/infllm_ops*",
    "sm90": "sgl_kernel/sm90/*",  # H100, H200
    "sm100": "sgl_kernel/sm100/*",  # B200
}
KERNEL_WHEELS = ("sgl-kernel", "sglang-kernel")


class KitError(Exception):
    """The kit cannot be built or installed; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a kit is made for. `have`: canonical package name to version, None if unknown."""

    sglang: str
    python: str = "3.12"
    have: dict[str, str | None] = field(default_factory=dict)
    without: frozenset[str] = frozenset()

    @property
    def dropped_patterns(self) -> list[str]:
        return [PARTS[name] for name in sorted(self.without & PARTS.keys())]


@dataclass(frozen=True, slots=True)
class Collected:
    """The wheels of a kit; `left_out` gives for each package not carried who asked for it."""

    wheels: dict[str, Path]
    left_out: dict[str, list[str]]


# --- building ---------------------------------------------------------------------------------


def read_have(path: Path) -> dict[str, str | None]:
    """Packages of the node, from `pip freeze` or `pip list --format=freeze` run there."""
    from packaging.utils import canonicalize_name  # noqa: PLC0415

    have: dict[str, str | None] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.split("#", 1)[0].strip()
        if not text or text.startswith("-"):
            continue
        name, pinned, version = text.partition("==")
        have[canonicalize_name(name.split("@", 1)[0].strip())] = version.strip() if pinned else None
    return have


def collect(wanted: Wanted, folder: Path) -> Collected:
    """Download into `folder` what SGLang and its dependencies ask for and the node lacks.

    Follows `Requires-Dist` from wheel to wheel, evaluated for the node; a wheel that is in
    `folder` already is not fetched again. Raises KitError if a wheel cannot be had.
    """
    from packaging.requirements import Requirement  # noqa: PLC0415
    from packaging.specifiers import SpecifierSet  # noqa: PLC0415
    from packaging.utils import canonicalize_name  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    refused = {canonicalize_name(n) for n in (*TARGET_OWN, *NOT_FOR_SERVING, *wanted.without)}
    specifiers: dict[str, SpecifierSet] = {}
    extras: dict[str, set[str]] = {}
    left_out: dict[str, list[str]] = {}
    wheels: dict[str, Path] = {}
    expanded: set[tuple[str, Path, frozenset[str]]] = set()
    pending = [(Requirement(f"sglang=={wanted.sglang}"), "")]
    while pending:
        names = []
        for requirement, asked_by in pending:
            name = canonicalize_name(requirement.name)
            known = specifiers.get(name, SpecifierSet())
            specifiers[name] = known & requirement.specifier
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


def _is_there(name: str, specifier: SpecifierSet, have: dict[str, str | None]) -> bool:
    if name not in have:
        return False
    version = have[name]
    return version is None or specifier.contains(version, prereleases=True)


def _find(folder: Path, name: str, specifier: SpecifierSet) -> Path | None:
    """The newest wheel of a package in `folder` that fits."""
    from packaging.utils import parse_wheel_filename  # noqa: PLC0415

    fitting = []
    for path in folder.glob("*.whl"):
        found, version, _, _ = parse_wheel_filename(path.name)
        if found == name and specifier.contains(version, prereleases=True):
            fitting.append((version, path))
    return max(fitting)[1] if fitting else None


def _requirements(wheel: Path, extras: set[str], python: str) -> list[Requirement]:
    """What a wheel requires on the node: Linux on x86-64, CPython of that version."""
    from packaging.metadata import Metadata  # noqa: PLC0415

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


def prepare(
    collected: Collected, wanted: Wanted, folder: Path, *, compress: bool
) -> list[tuple[Path, Path]]:
    """(file to travel, wheel it stands for) of every wheel: parts dropped, big ones as .whl.xz."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    prepared = []
    for name, wheel in sorted(collected.wheels.items()):
        drop = wanted.dropped_patterns if name in KERNEL_WHEELS else []
        smaller = compress and wheel.stat().st_size >= COMPRESS_FROM_BYTES
        if not drop and not smaller:
            prepared.append((wheel, wheel))
            continue
        final = repack(wheel, folder, drop, stored=smaller)
        travels = final
        if smaller and final.stat().st_size >= COMPRESS_FROM_BYTES:
            travels = final.with_name(final.name + ".xz")
            with (
                final.open("rb") as source,
                lzma.open(travels, "wb", check=lzma.CHECK_CRC32, filters=XZ_FILTERS) as sink,
            ):
                shutil.copyfileobj(source, sink, CHUNK_BYTES)
        prepared.append((travels, final))
    return prepared


def write_shares(
    prepared: Sequence[tuple[Path, Path]],
    out: Path,
    share_bytes: int,
    about: dict[str, Any],
) -> list[Path]:
    """Cut the files, one after the other, into shares of at most `share_bytes` each.

    Files are cut where a share is full, so there are as few shares as can be. Every share holds
    the whole manifest and this file. Raises KitError for a size that holds nothing.
    """
    room = share_bytes - SHARE_RESERVE_BYTES
    if room < CHUNK_BYTES:
        raise KitError(f"shares of {share_bytes} bytes are too small; 2 MiB is the least")
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
                "sha256": sha256_of(final),
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
        shutil.copyfile(__file__, folder / "kit.py")
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


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def plan_lines(collected: Collected, wanted: Wanted, share_bytes: int) -> Iterator[str]:
    """The sizes, for a person: each wheel as downloaded, the kernel wheel's parts, the shares."""
    total = 0
    by_size = sorted(collected.wheels.items(), key=lambda pair: -pair[1].stat().st_size)
    for name, wheel in by_size:
        size = wheel.stat().st_size
        total += size
        yield f"{size / MIB:9.1f} MiB  {wheel.name}"
        if name not in KERNEL_WHEELS:
            continue
        with zipfile.ZipFile(wheel) as archive:
            for part, pattern in PARTS.items():
                packed = sum(
                    i.compress_size for i in archive.infolist() if _matches(i.filename, [pattern])
                )
                dropped = part in wanted.without
                total -= packed if dropped else 0
                note = "left out" if dropped else f"--without {part} saves it"
                yield f"{packed / MIB:13.1f} MiB of it {part} ({note})"
    shares = math.ceil(total / (share_bytes - SHARE_RESERVE_BYTES))
    yield (
        f"{total / MIB:9.1f} MiB  in {len(by_size)} wheels: {shares} shares of "
        f"{share_bytes / MIB:g} MiB before recompression"
    )
    for name, asked_by in sorted(collected.left_out.items()):
        yield f"left out: {name} (asked for by {', '.join(sorted(set(asked_by)))})"


# --- installing: standard library and pip only --------------------------------------------------


def install(shares: Sequence[Path], target: Path, *, dry_run: bool = False) -> str:
    """Verify the shares and install their wheels into `target`; returns a sentence.

    Does nothing if this very kit is there. Raises KitError for a share that is missing, damaged
    or of another kit, and for a Python the kit was not made for.
    """
    manifest, folders = _read_manifest(shares)
    python = ".".join(map(str, sys.version_info[:2]))
    if python != manifest["python"]:
        raise KitError(f"this kit is for Python {manifest['python']}, this is {python}")
    stamp = target / f".kit-{hashlib.sha256(json.dumps(manifest).encode()).hexdigest()[:16]}"
    if stamp.exists():
        return f"SGLang {manifest['sglang']} is already in {target}."
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kit-", dir=target.parent) as work:
        wheels = [_restore(entry, folders, Path(work)) for entry in manifest["wheels"]]
        if dry_run:
            return f"SGLang {manifest['sglang']}: {len(wheels)} wheels are whole."
        command = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--quiet"]
        command += ["--disable-pip-version-check", "--upgrade", "--target", str(target)]
        status = subprocess.run([*command, *map(str, wheels)], check=False).returncode
        if status != 0:
            raise KitError(f"pip install into {target} ended with status {status}")
    stamp.touch()
    return f"SGLang {manifest['sglang']} installed: export PYTHONPATH={target.resolve()}"


def _read_manifest(shares: Sequence[Path]) -> tuple[dict[str, Any], dict[str, Path]]:
    found: dict[str, Path] = {}
    manifests: dict[str, dict[str, Any]] = {}
    for folder in shares:
        path = folder / MANIFEST
        if not path.is_file():
            raise KitError(f"{folder} is no share of a kit: it has no {MANIFEST}")
        text = path.read_text(encoding="utf-8")
        manifests[text] = json.loads(text)
        # A share may have been renamed on its way: its files say which one it is.
        for entry in manifests[text].get("wheels", []):
            for part in entry["parts"]:
                if (folder / part["file"]).is_file():
                    found[part["share"]] = folder
    if len(manifests) != 1:
        raise KitError(f"the shares belong to {len(manifests)} different kits, one is needed")
    manifest = next(iter(manifests.values()))
    if manifest.get("schema") != SCHEMA:
        raise KitError(f"a kit of schema {manifest.get('schema')}, this installs {SCHEMA}")
    missing = [name for name in manifest["shares"] if name not in found]
    if missing:
        raise KitError(f"these shares are missing: {', '.join(missing)}")
    return manifest, found


def _restore(entry: dict[str, Any], folders: dict[str, Path], work: Path) -> Path:
    """Join, check and unpack the parts of one wheel into `work`."""
    joined = work / (entry["wheel"] + (".xz" if entry["xz"] else ""))
    with joined.open("wb") as sink:
        for part in entry["parts"]:
            path = folders[part["share"]] / part["file"]
            if not path.is_file():
                raise KitError(f"{path} is missing")
            if sha256_of(path) != part["sha256"]:
                raise KitError(f"{path} is damaged (its SHA-256 differs): carry its share again")
            with path.open("rb") as source:
                shutil.copyfileobj(source, sink, CHUNK_BYTES)
    wheel = work / str(entry["wheel"])
    if entry["xz"]:
        with lzma.open(joined) as packed, wheel.open("wb") as sink:
            shutil.copyfileobj(packed, sink, CHUNK_BYTES)
        joined.unlink()
    if sha256_of(wheel) != entry["sha256"]:
        raise KitError(f"{entry['wheel']} is not what was packed (its SHA-256 differs)")
    return wheel


# --- command line -------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kit", description="Carry SGLang to an offline GPU node.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("plan", "download and print sizes"), ("build", "download, pack and cut")):
        command = commands.add_parser(name, help=text)
        command.add_argument("--sglang", required=True, metavar="VERSION")
        command.add_argument("--out", required=True, type=Path, metavar="DIR")
        command.add_argument("--share-mib", type=float, default=60.0, metavar="N")
        command.add_argument("--python", default="3.12", metavar="X.Y", help="the node's Python")
        command.add_argument("--have", type=Path, metavar="FILE", help="pip freeze of the node")
        command.add_argument(
            "--without",
            action="append",
            default=[],
            metavar="NAME",
            help=f"a package, or a part of the kernel wheel: {', '.join(PARTS)}",
        )
        if name == "build":
            command.add_argument(
                "--no-xz", action="store_true", help="keep wheels as they are: quicker, larger"
            )
    command = commands.add_parser("install", help="verify and install, on the node")
    command.add_argument("--shares", required=True, type=Path, nargs="+", metavar="DIR")
    command.add_argument("--target", required=True, type=Path, metavar="DIR")
    command.add_argument("--check", action="store_true", help="verify, install nothing")
    return parser


def _make(options: argparse.Namespace) -> None:
    wanted = Wanted(
        sglang=options.sglang,
        python=options.python,
        have=read_have(options.have) if options.have else {},
        without=frozenset(options.without),
    )
    share_bytes = int(options.share_mib * MIB)
    collected = collect(wanted, options.out / "wheels")
    print("\n".join(plan_lines(collected, wanted, share_bytes)))
    if options.command == "plan":
        return
    prepared = prepare(collected, wanted, options.out / "packed", compress=not options.no_xz)
    about = {
        "sglang": wanted.sglang,
        "python": wanted.python,
        "without": sorted(wanted.without),
        "left_out": collected.left_out,
    }
    folders = write_shares(prepared, options.out, share_bytes, about)
    for travels, final in prepared:
        if travels != final:
            before = collected.wheels[_name_of(final)].stat().st_size
            print(f"{before / MIB:9.1f} -> {travels.stat().st_size / MIB:.1f} MiB  {travels.name}")
    total = sum(travels.stat().st_size for travels, _ in prepared)
    print(f"{total / MIB:9.1f} MiB  in {len(folders)} shares under {options.out}")


def _name_of(wheel: Path) -> str:
    from packaging.utils import parse_wheel_filename  # noqa: PLC0415

    name: str = parse_wheel_filename(wheel.name)[0]
    return name


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; exit status 2 with the reason on stderr."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "install":
            print(install(options.shares, options.target, dry_run=options.check))
        else:
            _make(options)
    except KitError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
