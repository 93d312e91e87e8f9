"""`python -m append_prefill.planted`: the simulated server as a process of its own."""

from __future__ import annotations

import argparse
import gc
import os
import signal
import subprocess
import sys
import threading
from dataclasses import fields
from types import FrameType
from typing import NoReturn, get_args

from append_prefill.planted.cost import Cost
from append_prefill.planted.faults import FAULTS, Faults, parse_faults
from append_prefill.planted.meaning import refuse_meaningless
from append_prefill.planted.protocol import Mode, Settings
from append_prefill.planted.server import PlantedServer, log

# An orphan ends by itself, so that a test which does not find it leaves nothing for good.
_ORPHAN_S = 120
_ORPHAN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    f"print('orphan', flush=True); time.sleep({_ORPHAN_S})"
)

_COSTS = {
    "floor_ms": "what every prefill takes",
    "new_token_us": "a token that is not cached",
    "cached_token_us": "a token that is",
    "decode_ms": "a token after the first",
    "start_sd": "spread of launches, on the log scale",
    "within_sd": "spread of requests, on the log scale",
    "lag1": "autocorrelation of requests",
    "outlier_rate": "share of requests that take longer",
    "outlier_factor": "how many times as long they take",
    "drift_per_hour": "relative and linear",
    "text_us": "a token of a prompt that comes as text, cached or not",
    "template_us": "a token of a chat, beside that",
    "interference": "share of a prefill for which requests that decode stand still",
    "decode_load": "share by which each request that decodes makes a prefill longer",
    "evict_us_per_leaf": "a leaf of the prefix tree, for a prefill that finds the pool full",
    "served_us": "a request that was there before, for each prefill",
    "transfer_ms": "moving a prompt's KV to the decode half of a pair",
    "transfer_us": "moving a token of it",
    "chunk_ms": "each chunk of a prefill beyond its first",
    "attention_ns": "a new token and a token that it attends to",
}


def build_parser() -> argparse.ArgumentParser:
    """The command line: the fields of Cost and Settings, by their names."""
    faults = "\n".join(
        f"  {name + ('=' + known.argument if known.argument else ''):36}{known.does}"
        for name, known in FAULTS.items()
    )
    parser = argparse.ArgumentParser(
        prog="python -m append_prefill.planted",
        description="A server that speaks SGLang's protocol and takes the time it is told to.",
        epilog=f"faults:\n{faults}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    cost, settings = Cost(), Settings()
    costs = parser.add_argument_group("costs")
    for name, meaning in _COSTS.items():
        option = "--" + name.replace("_", "-")
        costs.add_argument(option, type=float, default=getattr(cost, name), help=meaning)
    costs.add_argument("--form", choices=("sum", "max"), default=cost.form)
    costs.add_argument("--prefill-graph", action="store_true", help="a staircase in new tokens")
    costs.add_argument("--start-seed", type=int, help="fixes the noise; default: drawn")
    costs.add_argument(
        "--drift-from-unix-s", type=float, help="when the drift was zero; default: at readiness"
    )
    server = parser.add_argument_group("server")
    server.add_argument(
        "--page-size", type=int, dest="page_size_tokens", default=settings.page_size_tokens
    )
    for name in (
        "kv_capacity_tokens",
        "context_length_tokens",
        "chunked_prefill_tokens",
    ):
        option = "--" + name.replace("_", "-")
        server.add_argument(option, type=int, default=getattr(settings, name))
    server.add_argument(
        "--disaggregation-mode", choices=get_args(Mode), default=settings.disaggregation_mode
    )
    server.add_argument("--disaggregation-bootstrap-port", type=int, dest="bootstrap_port")
    server.add_argument(
        "--disaggregation-transfer-backend",
        choices=("simulated",),
        help="what the halves of a pair move a KV cache with",
    )
    server.add_argument("--ready-after-s", type=float, default=settings.ready_after_s)
    server.add_argument(
        "--sglang-version",
        default=settings.sglang_version,
        help="the version whose protocol it speaks, and that it reports",
    )
    server.add_argument("--api-key-env", help="name of the variable that holds the API key")
    server.add_argument("--fault", action="append", default=[], metavar="NAME[=ARG]")
    return parser


def _api_key(parser: argparse.ArgumentParser, variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable)
    if not key:
        parser.error(f"--api-key-env {variable}: the variable is not set")
    return key


def _refuse(text: str) -> int:
    log("[TP0] Scheduler hit an exception: Traceback (most recent call last):")
    log(f"RuntimeError: {text}")
    log("Received sigquit from a child process. It usually means the child failed.")
    return 1


def _die() -> NoReturn:
    log("[TP0] Scheduler hit an exception: RuntimeError: simulated death")
    log("Received sigquit from a child process. It usually means the child failed.")
    os._exit(1)


def _leave_orphan(faults: Faults) -> None:
    if faults.orphan is None:
        return
    child = subprocess.Popen(
        [sys.executable, "-S", "-c", _ORPHAN],
        stdout=subprocess.PIPE,
        start_new_session=faults.orphan == "session",
    )
    # Its line says that SIGTERM no longer reaches it.
    assert child.stdout is not None
    child.stdout.readline()
    log(f"left a child behind: pid={child.pid}")


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT. Exit status 0, 1 where it cannot start, 2 for bad options."""
    parser = build_parser()
    options = vars(parser.parse_args(argv))
    try:
        faults = parse_faults(options["fault"])
        options["api_key"] = _api_key(parser, options["api_key_env"])
        cost = Cost(**{f.name: options[f.name] for f in fields(Cost)})
        settings = Settings(**{f.name: options[f.name] for f in fields(Settings) if f.init})
        refuse_meaningless(cost, faults, settings)
    except ValueError as error:
        parser.error(str(error))

    stop = threading.Event()

    received: list[int] = []

    def on_signal(signum: int, _frame: FrameType | None) -> None:
        # No log from here: a signal that comes amid another line's write would break into it.
        received.append(signum)
        stop.set()

    signal.signal(signal.SIGTERM, signal.SIG_IGN if faults.ignore_sigterm else on_signal)
    signal.signal(signal.SIGINT, on_signal)
    log(f"simulated {cost} {settings} {faults}")
    if faults.refuse_start is not None:
        return _refuse(faults.refuse_start)
    server = PlantedServer(
        cost,
        faults,
        settings,
        host=options["host"],
        port=options["port"],
        start_seed=options["start_seed"],
        drift_from_unix_s=options["drift_from_unix_s"],
        on_death=_die,
    )
    try:
        server.start()
    except OSError as error:
        log(f"cannot bind {server.host}:{options['port']}: {error}")
        return 1
    try:
        _leave_orphan(faults)
        # What is here stays: keep it out of the collector's way while times are kept.
        gc.freeze()
        while not server.wait_ready(0.2):
            if stop.is_set():
                return 0
        log("The server is fired up and ready to roll!")
        stop.wait()
    finally:
        for signum in received:
            log(f"{signal.Signals(signum).name} received, shutting down")
        server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
