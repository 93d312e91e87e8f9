"""`append-prefill env VERSION`: an environment that holds one SGLang, to be measured by name."""

from __future__ import annotations

import argparse
from pathlib import Path

from append_prefill.cli.output import Commands, say
from append_prefill.engines.create import create_environment
from append_prefill.places import environments_folder


def register(commands: Commands) -> None:
    parser = commands.add_parser(
        "env",
        help="make an environment that holds one version of SGLang",
        description="Make an environment that holds SGLang VERSION, or complete one that was "
        "interrupted; `--sglang VERSION` and `--against VERSION` then find it. With an NVIDIA GPU "
        "in sight it is what pip installs; without one, what SGLang needs on a CPU. In a checkout "
        "`tox -e sglang-VERSION` does the same under .tox/.",
        epilog=f"Environments are kept in {environments_folder()} "
        "($APPEND_PREFILL_ENVIRONMENTS names another folder).",
    )
    parser.add_argument("version", metavar="VERSION", help="a release, as in 0.5.23")
    parser.add_argument(
        "--python",
        type=Path,
        metavar="PATH",
        help="the interpreter to make it with (default: this one, or the first on the PATH that "
        "the version supports)",
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    python = create_environment(args.version, args.python)
    say(f"SGLang {args.version} is in {python.parent.parent}. Measure it:")
    say(f"append-prefill run --sglang {args.version}")
    return 0
