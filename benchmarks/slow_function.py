"""Is a slow function found? One is put into SGLang itself, and searched for by `cause`.

    python -m benchmarks.slow_function --sglang 0.5.23 --repeats 4 --out FOLDER

Real SGLang, both sides the same version; the candidate's interpreter is a script around it that
puts `benchmarks/slowed_functions` on its path, so that SGLang's own files stay as they are. Three
places, one in each part of a request's way: the scheduler, the tokenizer manager (the HTTP server's
process) and the radix cache. On a GPU a fourth: the sampler starts one kernel more. A repeat is a
pass of `--pairs` pairs of launches, in which each launch of the candidate is profiled once for each
place, which is slow then, and takes turns with the reference's each time. Printed is the rank of
the slow function, or kernel, for each place and repeat, and how many are among the first three; on
a GPU also how many kernels that nobody slowed are told as changed for certain.
`python -m benchmarks.slow_function --read FOLDER` prints the same of what is kept.
"""

from __future__ import annotations

import argparse
import shlex
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from append_prefill.engines.devices import DeviceLock
from append_prefill.engines.profiler import RATE_HZ, find_program
from append_prefill.places import checkout_of
from append_prefill.probe.plan import abba
from append_prefill.records.cause import (
    Cause,
    FunctionSpent,
    KernelSpent,
    read_cause,
    write_cause,
)
from append_prefill.records.comparison import PointEffect
from append_prefill.report.cause.spent import certain
from append_prefill.run.cause.launch import Bench, Measured
from append_prefill.run.cause.measuring import profiled, up
from append_prefill.run.cause.record import cause_of
from append_prefill.run.cause.where import Moved
from append_prefill.run.options import Options
from append_prefill.run.resolve import resolve
from append_prefill.run.settings import Settings
from append_prefill.workload.points import Point
from append_prefill.workload.traffic import DEFAULT

PLACES = {
    "scheduler": ("sglang.srt.managers.scheduler:Scheduler.handle_generate_request",),
    "tokenizer": ("sglang.srt.managers.tokenizer_manager:TokenizerManager._tokenize_one_request",),
    "cache": (
        "sglang.srt.mem_cache.unified_radix_cache:UnifiedRadixCache.match_prefix",
        "sglang.srt.mem_cache.radix_cache:RadixCache.match_prefix",
    ),
}
"""Each is called once a request or a few times, in SGLang 0.5.17 to 0.5.23; of several, one."""

KERNEL = "kernel"
_STARTS_IT = "sglang.srt.layers.sampler:Sampler.forward@gpu"
_ITS_NAME = "spin_kernel"

WITHIN = 3
KEPT = 30
SWITCH = "switch"
_HOOK = Path(__file__).parent / "slowed_functions"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sglang", default="0.5.23", metavar="ENV")
    parser.add_argument("--profile", default="cpu-nano")
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--first", type=int, default=0, help="number of the first repeat")
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--rate", type=int, default=RATE_HZ)
    parser.add_argument("--slow-ms", type=float, default=2.5)
    parser.add_argument("--point", type=int, nargs=2, default=(448, 64))
    parser.add_argument("--out", type=Path, help="keep the records here")
    parser.add_argument("--read", type=Path, help="print of what is kept here; measures nothing")
    args = parser.parse_args()
    if args.read is not None:
        return told(sorted(args.read.iterdir()))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        out = args.out or folder / "kept"
        switch = folder / SWITCH
        switch.write_bytes(b"\0")
        here = Path.cwd()
        root = checkout_of(here) or here
        plain = resolve(Options(sglang=args.sglang, profile=args.profile), root)
        script = script_around(plain, folder, switch, args.slow_ms)
        settings = resolve(
            Options(
                sglang=str(script),
                against=args.sglang,
                profile=args.profile,
                label="slowed",
                against_label="as it is",
            ),
            root,
        )
        for repeat in range(args.first, args.first + args.repeats):
            measured(args, settings, folder, out, repeat)
            told(sorted(out.iterdir()))
    return 0


def script_around(plain: Settings, folder: Path, switch: Path, slow_ms: float) -> Path:
    """An interpreter that is the other one's, with the slow functions in it."""
    script = folder / "python"
    python = plain.candidate.interpreter.path  # type: ignore[attr-defined]
    gpu = [(_STARTS_IT,)] if plain.profile.device == "cuda" else []
    given = {
        "APPEND_PREFILL_SLOWED": ",".join(["|".join(names) for names in [*PLACES.values(), *gpu]]),
        "APPEND_PREFILL_SLOWED_MS": f"{slow_ms:g}",
        "APPEND_PREFILL_SLOWED_SWITCH": str(switch),
    }
    lines = [f"export {name}={shlex.quote(value)}" for name, value in given.items()]
    lines.append(f'export PYTHONPATH={shlex.quote(str(_HOOK))}"${{PYTHONPATH:+:$PYTHONPATH}}"')
    lines.append(f'exec {shlex.quote(str(python))} "$@"')
    script.write_text("\n".join(["#!/bin/sh", *lines, ""]), encoding="utf-8")
    script.chmod(0o755)
    return script


def measured(
    args: argparse.Namespace, settings: Settings, scratch: Path, out: Path, repeat: int
) -> None:
    """One repeat: a record for each place, in a folder of its own within `out`."""
    switch, folder = scratch / SWITCH, scratch / str(repeat)
    point, program = Point(*args.point), find_program()
    bench = Bench(
        settings.profile,
        settings.devices[0],
        folder,
        settings.vocab_size,
        repeat,
        point,
        args.requests,
        program,
        args.rate,
        lambda line: print(line, flush=True),
    )
    assert settings.reference is not None
    engines = {"candidate": settings.candidate, "reference": settings.reference}
    places = [*PLACES, *([KERNEL] if bench.device.kind == "cuda" else [])]
    pairs: dict[str, list[tuple[Measured, Measured]]] = {place: [] for place in places}
    for pair in range(args.pairs):
        sides = abba(("candidate", "reference"), pair)
        with (
            DeviceLock(bench.device, timeout_s=3600),
            up(bench, {side: engines[side] for side in sides}, pair) as servers,
        ):
            for number, place in enumerate(places, 1):
                write_switch(switch, number)
                made = profiled(replace(bench, folder=folder / place), servers, pair)
                pairs[place].append((made["candidate"], made["reference"]))
            write_switch(switch, 0)
    for place, of_place in pairs.items():
        cause = cause_of(
            moved_at(point),
            of_place,
            run="none: a function was made slow",
            command=f"python -m benchmarks.slow_function --first {repeat}",
            profile=settings.profile.name,
            names=("slowed", "as it is"),
            rate_hz=args.rate,
            profiler="py-spy",
        )
        write_cause(shortened(cause, PLACES.get(place, ())), out / f"{place}-{repeat}")


def shortened(cause: Cause, names: Collection[str]) -> Cause:
    """The first of the ranking, and the slow one wherever it stands; no stacks."""
    rank = rank_of(cause.functions, names) or 0
    kept = max(KEPT, rank)
    return cause.model_copy(update={"functions": cause.functions[:kept], "names": [], "stacks": []})


def write_switch(switch: Path, number: int) -> None:
    """In place: the servers have the file mapped."""
    with switch.open("r+b") as file:
        file.write(bytes([number]))


def moved_at(point: Point) -> Moved:
    """As if a run had found the candidate slower there."""
    effect = PointEffect(
        context_tokens=point.context_tokens,
        append_tokens=point.append_tokens,
        reference_ms=None,
        candidate_ms=None,
        ratio=1.2,
        low=1.1,
        high=1.3,
        p=None,
        mde=None,
        verdict="regression",
    )
    return Moved(None, DEFAULT, effect, 1.2, 1.1, 1.3)


def told(folders: Sequence[Path]) -> int:
    """Print the rank of every slow function; the number of those that are not found."""
    print(f"{'place':>10} {'repeat':>6} {'rank':>4} {'ms/request':>10}  95 % interval    first")
    hits = tries = others = told = 0
    for folder in folders:
        if not folder.is_dir():
            continue
        place, _, repeat = folder.name.rpartition("-")
        cause = read_cause(folder)
        kernels = cause.kernels or []
        slow_kernels = [one.name for one in kernels if _ITS_NAME in one.name]
        ranking: Ranking = kernels if place == KERNEL else cause.functions
        rank = rank_of(ranking, slow_kernels if place == KERNEL else PLACES[place])
        hits += rank is not None and rank <= WITHIN
        tries += 1
        untouched = [one for one in kernels if one.name not in slow_kernels]
        others += len(untouched)
        told += sum(certain(one.own) for one in untouched)
        own = None if rank is None else ranking[rank - 1].own
        said = "" if own is None else f"{own.delta_ms:.2f}"
        ends = ""
        if own is not None and own.low_ms is not None:
            ends = f"{own.low_ms:.2f} to {own.high_ms:.2f}"
        row = f"{place:>10} {repeat:>6} {rank or '-':>4} {said:>10}  {ends:<16}"
        print(f"{row} {ranking[0].name}")
    print(f"among the first {WITHIN}: {hits} of {tries}")
    if others:
        print(f"kernels that nobody slowed, told as changed for certain: {told} of {others}")
    return tries - hits


Ranking = Sequence[FunctionSpent | KernelSpent]


def rank_of(ranking: Ranking, names: Collection[str]) -> int | None:
    """From 1; None where none of the names is among what is kept."""
    found = [one.name in names for one in ranking if one.own is not None]
    return found.index(True) + 1 if True in found else None


if __name__ == "__main__":
    raise SystemExit(main())
