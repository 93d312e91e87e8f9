"""An offline kit: one SGLang version carried to a GPU node that reaches no package index.

    python -m append_prefill.engines.kit plan  --sglang 0.5.17 --have freeze.txt --out kit
    python -m append_prefill.engines.kit build --sglang 0.5.17 --have freeze.txt --out kit
    python kit.py install --shares share-01 share-02 ... --env DIR      (on the node)

`build` downloads the wheels that SGLang and this suite ask for and the node lacks (`wheels`),
and cuts them into chunks of a size that can travel, each with the manifest and the installer
(`chunks`, as kit.py). `install` needs Python, pip and every chunk, nothing else; then
DIR/bin/python is an interpreter for `--sglang`, and runs the suite too. torch stays the node's own.

Not for installing where an index is reachable: `tox -e sglang-VERSION` is.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from append_prefill.engines.kit.chunks import (
    MIB,
    add_install,
    run,
    share_room_bytes,
    write_shares,
)
from append_prefill.engines.kit.wheels import (
    Collected,
    Wanted,
    collect,
    part_sizes_bytes,
    prepare,
    read_have,
)
from append_prefill.engines.versions.packages import KERNEL_PACKAGES, KERNEL_PARTS


def plan_lines(collected: Collected, wanted: Wanted, share_bytes: int) -> Iterator[str]:
    """The sizes, for a person: each wheel as downloaded, the kernel wheel's parts, the chunks."""
    total = 0
    by_size = sorted(collected.wheels.items(), key=lambda pair: -pair[1].stat().st_size)
    for name, wheel in by_size:
        size = wheel.stat().st_size
        total += size
        yield f"{size / MIB:9.1f} MiB  {wheel.name}"
        if name not in KERNEL_PACKAGES:
            continue
        for part, packed in part_sizes_bytes(wheel).items():
            dropped = part in wanted.without
            total -= packed if dropped else 0
            note = "left out" if dropped else f"--without {part} saves it"
            yield f"{packed / MIB:13.1f} MiB of it {part} ({note})"
    shares = math.ceil(total / share_room_bytes(share_bytes))
    yield (
        f"{total / MIB:9.1f} MiB  in {len(by_size)} wheels: {shares} chunks of "
        f"{share_bytes / MIB:g} MiB before recompression"
    )
    for name, asked_by in sorted(collected.left_out.items()):
        yield f"left out: {name} (asked for by {', '.join(sorted(set(asked_by)))})"


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
            help=f"a package, or a part of the kernel wheel: {', '.join(KERNEL_PARTS)}",
        )
        if name == "build":
            command.add_argument(
                "--no-xz", action="store_true", help="keep wheels as they are: quicker, larger"
            )
        command.set_defaults(run=_make)
    add_install(commands)
    return parser


def _make(options: argparse.Namespace) -> None:
    wanted = Wanted(
        sglang=options.sglang,
        python=options.python,
        have=read_have(options.have) if options.have else {},
        without=frozenset(options.without),
    )
    share_bytes = int(options.share_mib * MIB)
    downloaded = options.out / "wheels"
    collected = collect(wanted, downloaded)
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
            before = (downloaded / final.name).stat().st_size
            print(f"{before / MIB:9.1f} -> {travels.stat().st_size / MIB:.1f} MiB  {travels.name}")
    total = sum(travels.stat().st_size for travels, _ in prepared)
    print(f"{total / MIB:9.1f} MiB  in {len(folders)} chunks under {options.out}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; exit status 2 with the reason on stderr."""
    return run(_parser(), arguments)


if __name__ == "__main__":
    sys.exit(main())
