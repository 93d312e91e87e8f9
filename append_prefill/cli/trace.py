"""`append-prefill trace`: what a trace consists of, and traces of published shapes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pydantic import ValidationError

from append_prefill.cli.output import Commands, add_json, print_json, print_table, say
from append_prefill.errors import UsageError, first_problem
from append_prefill.report import format as fmt
from append_prefill.workload.traces.mooncake import mooncake_lines
from append_prefill.workload.traces.shapes import SHAPE_NAMES
from append_prefill.workload.traces.spec import CONVERSATIONS, TURNS_MAX, TraceSpec, load
from append_prefill.workload.traces.summary import Quantiles, Summary, summary_of
from append_prefill.workload.traces.trace import Trace

_ROWS = {
    "turns_each": "turns of a conversation",
    "opening_tokens": "tokens of the first prompt",
    "context_tokens": "L, tokens before a turn",
    "append_tokens": "m, new tokens of a turn",
    "reply_tokens": "tokens of a reply",
    "total_tokens": "tokens of a conversation",
    "after_s": "seconds before a turn",
}
_LEFT_OUT = {
    "single_requests": "requests on their own",
    "resets": "contexts that began anew, each a conversation of its own from there",
    "turns_cut": "turns cut",
    "conversations_cut": "conversations too long",
}


def register(commands: Commands) -> None:
    parser = commands.add_parser(
        "trace",
        help="look at a trace of conversations, or make one",
        description="Look at a trace of conversations, or draw one from a published shape.",
    )
    ways = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    show = ways.add_parser(
        "show",
        help="what a file consists of, as it would be replayed",
        description="What a trace file consists of: Mooncake's format, AIPerf's multi-turn, "
        "SGLang's agentic-trace, or chats. With the options, what of it would be replayed.",
    )
    show.add_argument("file", type=Path, metavar="FILE")
    generate = ways.add_parser(
        "generate",
        help="draw a trace from a published shape",
        description="Draw conversations from a published shape; the seed decides all of them.",
    )
    generate.add_argument("shape", choices=SHAPE_NAMES)
    generate.add_argument(
        "--out", type=Path, metavar="FILE", help="write it in the Mooncake format"
    )
    for way in (show, generate):
        way.add_argument(
            "--conversations",
            type=int,
            metavar="N",
            help=f"that many of them (default: {'all' if way is show else CONVERSATIONS})",
        )
        way.add_argument(
            "--turns-max",
            type=int,
            metavar="N",
            help=f"turns at most (default: {'all' if way is show else TURNS_MAX})",
        )
        way.add_argument("--token-scale", type=float, metavar="X", help="all tokens times X")
        way.add_argument("--time-scale", type=float, metavar="X", help="all waits times X")
        way.add_argument("--seed", type=int, metavar="N", help="of what is drawn (default: 0)")
        way.add_argument(
            "--total-tokens", type=int, metavar="N", help="what a conversation has to fit"
        )
        add_json(way)
    show.set_defaults(run=_show)
    generate.set_defaults(run=_generate)


def _show(args: argparse.Namespace) -> int:
    # All of a file, unless asked for less.
    args.conversations = sys.maxsize if args.conversations is None else args.conversations
    args.turns_max = sys.maxsize if args.turns_max is None else args.turns_max
    spec = _spec(args, file=str(args.file))
    _print(load(spec, folder=Path(), total_tokens=args.total_tokens), args)
    return 0


def _generate(args: argparse.Namespace) -> int:
    spec = _spec(args, generator=args.shape)
    trace = load(spec, folder=Path(), total_tokens=args.total_tokens)
    if args.out is not None:
        text = "".join(f"{line}\n" for line in mooncake_lines(trace.conversations))
        try:
            args.out.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(
                "--out", args.out, f"cannot be written: {error}.", "Give another file."
            ) from error
    _print(trace, args)
    return 0


def _spec(args: argparse.Namespace, **source: object) -> TraceSpec:
    given = {name: getattr(args, name) for name in TraceSpec.model_fields if name in args}
    fields = {**given, **source}
    try:
        return TraceSpec.model_validate(
            {name: value for name, value in fields.items() if value is not None}
        )
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        option = f"--{name.replace('_', '-')}"
        problem = first_problem(error, "trace").partition(": ")[2]
        raise UsageError(option, fields[name], "is out of range.", f"{problem}.") from error


def _print(trace: Trace, args: argparse.Namespace) -> None:
    found = summary_of(trace)
    if args.json:
        print_json(found.model_dump(mode="json"))
        return
    print_table(
        f"{found.source}: {found.conversations} conversations, {found.turns} turns, cache rate "
        f"{fmt.share(found.cache_rate)}",
        ["", "median", "90 %", "99 %", "most"],
        [[label, *_cells(getattr(found, name))] for name, label in _ROWS.items()],
        left=[""],
    )
    for line in _notes(found):
        say(line)


def _cells(quantiles: Quantiles | None) -> list[str]:
    if quantiles is None:
        return [fmt.MISSING] * 4
    values = quantiles.model_dump().values()
    return [fmt.count(int(v)) if v.is_integer() else fmt.number(v) for v in values]


def _notes(found: Summary) -> list[str]:
    notes = [f"{found.left_out[name]} {label}." for name, label in _LEFT_OUT.items()]
    notes = [note for note in notes if not note.startswith("0 ")]
    if found.tokens_estimated:
        notes.append("The file has texts: tokens are estimated, one in four characters.")
    return notes
