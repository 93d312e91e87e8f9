"""The plugin's dealings with pytest-xdist: what workers are told, and what comes back from them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from append_prefill.errors import UsageError
from append_prefill.plugin.state import (
    CREATED,
    DELIVERED,
    FOLDER,
    INFRASTRUCTURE,
    LIVE,
    RESUMED,
    SEED,
    SELECTION_FILE,
    SESSION,
    SETTINGS,
)
from append_prefill.records.run import Run
from append_prefill.run import hosts

_PREFIX = "append_prefill_"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: Sequence[Any]) -> None:
    """Refuse what xdist would end in an internal error (hook of pytest-xdist).

    It takes every argument that exists as a file for one to send to hosts that are not this one.
    """
    remote = [spec for spec in specs if not spec.popen or spec.chdir]
    if SETTINGS not in config.stash or not remote:
        return
    if RESUMED in config.stash:
        error = UsageError(
            "--resume",
            config.getoption("--resume"),
            "cannot be gone on with on several hosts: each keeps its own part of a run.",
            "Measure again.",
        )
        raise pytest.UsageError(str(error))
    for argument in map(str, config.invocation_params.args):
        if not argument.startswith("-") and Path(argument.partition("::")[0]).exists():
            error = UsageError(
                "--tx",
                str(remote[0]).removeprefix("execmodel=main_thread_only//"),
                f"xdist would send {argument!r}, which exists as a file here, to that host.",
                "Select tests with -k and not by path, and write options in one word "
                "(-mappend_prefill, --report-dir=DIR).",
            )
            raise pytest.UsageError(str(error))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # an xdist WorkerController
    """Hand the run's folder, seed and start time to a worker (hook of pytest-xdist)."""
    stash = node.config.stash
    if FOLDER not in stash:
        return
    tell = {
        "folder": str(stash[FOLDER]),
        "token": hosts.mark(stash[FOLDER]),
        "created_at": stash[CREATED].isoformat(),
        "seed": stash[SEED],
        "hosts": hosts.count(node.nodemanager.specs),
    }
    tell["controller"] = os.getpid()
    if RESUMED in stash:
        tell["resumption"] = stash[RESUMED].resumption.model_dump_json()
    node.workerinput.update({_PREFIX + key: value for key, value in tell.items()})


def worker_pids(config: pytest.Config) -> list[int]:
    """The processes of the workers that this controller has on its own host.

    Its only children that are Pythons: it measures nothing itself, and to other hosts there is an
    ssh or a socket. xdist tells no process of a worker's.
    """
    if not config.pluginmanager.hasplugin("dsession"):
        return []
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if Path(child.exe()).name.startswith(("python", "pypy")):
                found.append(child.pid)
    return found


def told(config: pytest.Config, key: str) -> Any:
    """What the controller told this worker; None in the controller, or without xdist."""
    return getattr(config, "workerinput", {}).get(_PREFIX + key)


def deliver(config: pytest.Config) -> None:
    """At a worker's end: send what failed, and the record if the controller cannot read it."""
    output: dict[str, Any] = config.workeroutput  # type: ignore[attr-defined]
    output[_PREFIX + "infrastructure"] = config.stash.get(INFRASTRUCTURE, None)
    output[_PREFIX + "live"] = config.stash.get(LIVE, False)
    folder, run_session = config.stash[FOLDER], config.stash.get(SESSION, None)
    if str(folder) == told(config, "folder") or run_session is None or not run_session.began:
        return
    output[_PREFIX + "host_id"] = hosts.host_id(folder)
    output[_PREFIX + "selection"] = (folder / SELECTION_FILE).read_text(encoding="utf-8")
    run, _ = run_session.finish()
    output[_PREFIX + "run"] = run.model_dump_json(by_alias=True)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a worker sent (hook of pytest-xdist)."""
    stash = node.config.stash
    if SETTINGS not in stash:
        return
    sent = {
        key.removeprefix(_PREFIX): value
        for key, value in (getattr(node, "workeroutput", None) or {}).items()
        if key.startswith(_PREFIX)
    }
    if sent.get("infrastructure") is not None:
        stash[INFRASTRUCTURE] = sent["infrastructure"]
    if sent.get("live"):
        stash[LIVE] = True
    if "run" not in sent:
        return
    run = Run.model_validate_json(sent["run"])
    stash.setdefault(DELIVERED, []).append(hosts.Delivery(sent["host_id"], run))
    # The controller collects nothing: it plans by what its workers selected.
    selection = stash[FOLDER] / SELECTION_FILE
    if not selection.exists():
        selection.write_text(sent["selection"], encoding="utf-8")


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem: str, sched: Any) -> None:
    """A crashed worker is no regression, whatever test it happened in (hook of pytest-xdist)."""
    if SETTINGS in sched.config.stash:
        sched.config.stash[INFRASTRUCTURE] = f"A worker crashed while it ran {crashitem}."
