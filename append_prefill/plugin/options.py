"""The suite's command-line options, and what one pytest process makes of them."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

    from append_prefill.run.options import Options

MARKER = "append_prefill"

LOAD_MARKER = "load"
"""Of tests of heavy traffic: they run only where the marker expression names it."""


def add_options(parser: pytest.Parser) -> None:
    """Register the options of the design's table."""
    group = parser.getgroup("append-prefill", "append-prefill: SGLang's TTFT over cached prefixes")
    declare_options(group.addoption)


def declare_options(add: Callable[..., object]) -> None:
    """Call `add`, which takes what argparse's `add_argument` takes, for every option."""
    add(
        "--sglang",
        metavar="ENV",
        help="the candidate: a version with an environment (0.5.23), a Python interpreter that "
        "has SGLang, or `simulated`. Default: $APPEND_PREFILL_SGLANG, this interpreter, or the "
        "newest version environment",
    )
    add("--against", metavar="ENV", help="a reference measured side by side in the same run")
    add(
        "--control",
        metavar="ENV",
        help="a pinned version measured beside the candidate, never judged itself: stored runs "
        "that had it beside them are compared by the ratio to it",
    )
    add("--sglang-url", metavar="URL", help="measure a server that is already running")
    add(
        "--server-arg",
        metavar="ARG",
        action="append",
        default=[],
        help="passed on to sglang.launch_server, of both sides; repeatable (--server-arg=--flag)",
    )
    add(
        "--against-server-arg",
        metavar="ARG",
        action="append",
        default=[],
        help="the same for the reference alone, behind the --server-arg that both get; repeatable",
    )
    add("--label", metavar="TEXT", help="what to call the candidate (default: its version)")
    add("--against-label", metavar="TEXT", help="what to call the reference of --against")
    add("--profile", metavar="NAME|FILE", help="llama-3.1-8b, cpu-nano, or a TOML file")
    add("--model", metavar="PATH|NAME", help="the model to load instead of the profile's")
    add("--dummy-weights", action="store_true", help="the model's geometry with random weights")
    add(
        "--quick",
        action="store_true",
        help="a first answer: few launches, samples and experiments; the header says what it "
        "can see (--starts, --samples and --budget still count)",
    )
    add(
        "--experiment",
        metavar="ID",
        action="append",
        default=[],
        help="measure this experiment of the profile's, and no other that is not named; repeatable",
    )
    add("--starts", type=int, metavar="N", help="server launches per side")
    add("--samples", type=int, metavar="N", help="samples per point and launch")
    add("--budget", type=float, metavar="MINUTES", help="when to stop adding launches")
    add("--seed", type=int, metavar="N", help="every draw is derived from it; recorded")
    add(
        "--baseline",
        default="auto",
        metavar="auto|none|VERSION|FILE",
        help="which stored run to compare with",
    )
    add("--save-baseline", action="store_true", help="store this run as its version's baseline")
    add(
        "--lock-clocks",
        action="store_true",
        help="lock the GPU's SM clock while measuring (needs permission); undone afterwards",
    )
    add(
        "--resume",
        metavar="RUN",
        help="go on with a run that was cut off: its report folder; its options, seed and plan "
        "are kept, whole launches too",
    )
    add(
        "--confirms",
        metavar="RUN",
        help="measure what that run suspects with launches of their own; its record and report "
        "say what came of it (`append-prefill confirm` gives the options that go with it)",
    )
    add("--report-dir", default="reports", metavar="DIR", help="where runs are kept")
    add(
        "--new-only",
        action="store_true",
        help="exit 1 for a regression once: 0 where an earlier run of the history shows it",
    )
    add("--strict-verdicts", action="store_true", help="inconclusive fails, with exit status 8")


def is_run(config: pytest.Config) -> bool:
    """Whether `-m` asks for the suite (and not for everything but the suite)."""
    expression = str(config.option.markexpr)
    return MARKER in expression and f"not {MARKER}" not in expression


def options_of(config: pytest.Config, seed: int) -> Options:
    """The options as given to pytest."""
    from append_prefill.run.options import Options  # noqa: PLC0415 (see `plugin`)

    given = config.getoption
    return Options(
        sglang=given("--sglang"),
        against=given("--against"),
        control=given("--control"),
        sglang_url=given("--sglang-url"),
        server_arg=tuple(given("--server-arg")),
        against_server_arg=tuple(given("--against-server-arg")),
        label=given("--label"),
        against_label=given("--against-label"),
        profile=given("--profile"),
        model=given("--model"),
        dummy_weights=given("--dummy-weights"),
        experiment=tuple(given("--experiment")),
        starts=given("--starts"),
        samples=given("--samples"),
        budget_minutes=given("--budget"),
        seed=seed,
        baseline=given("--baseline"),
        save_baseline=given("--save-baseline"),
        strict_verdicts=given("--strict-verdicts"),
        lock_clocks=given("--lock-clocks"),
        quick=given("--quick"),
        confirms=given("--confirms"),
    )


def seed_of(config: pytest.Config) -> int:
    """The seed given, or a fresh one."""
    given = config.getoption("--seed")
    return int(given) if given is not None else secrets.randbelow(2**31)
