"""Workers on several hosts (pytest-xdist's `--tx ssh=...`): where they measure, what they send.

Workers that see the controller's run folder share out its pairs of launches. Workers of a host that
does not see it share out a plan of their own: that host measures the whole plan, judges its own
tests by it, and sends its record to the controller when it is done. There, launches of hosts with
the controller's identity join its record; the record of any other host is kept beside it, since
numbers of two kinds of device are not replicates of each other.
"""

from __future__ import annotations

import contextlib
import secrets
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from append_prefill.records.grounds import RunWarning
from append_prefill.records.run import Run
from append_prefill.records.store import (
    RUN_FILE,
    read_starts,
    write_run,
    write_start,
    write_whole,
)
from append_prefill.report.write import write_reports
from append_prefill.run.settings import Settings

_MARK_FILE = "host-mark"
_ID_FILE = "host-id"
HOSTS_FOLDER = "hosts"


def mark(folder: Path) -> str:
    """Put a random token into the controller's run folder, by which workers know it; returns it."""
    path = folder / _MARK_FILE
    if not path.exists():
        write_whole(path, secrets.token_hex(16))
    return path.read_text(encoding="utf-8")


def place(folder: Path, token: str) -> tuple[Path, bool]:
    """The run folder a worker measures in, and whether it is the controller's own.

    A folder of the same path on another host is not taken for it: it lacks the token.
    """
    path = folder / _MARK_FILE
    if path.is_file() and path.read_text(encoding="utf-8") == token:
        return folder, True
    own = Path(tempfile.gettempdir()) / "append-prefill-hosts" / token / folder.name
    own.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError), (own / _ID_FILE).open("x", encoding="utf-8") as file:
        file.write(secrets.token_hex(8))
    return own, False


def host_id(folder: Path) -> str:
    """What tells this host from others of the same name; `folder` is its own, as of `place`."""
    return (folder / _ID_FILE).read_text(encoding="utf-8")


def count(specs: Iterable[object]) -> int:
    """How many hosts the gateways of these execnet specs run on."""
    return len({(getattr(s, "ssh", None), getattr(s, "socket", None)) for s in specs}) or 1


def one_of(settings: Settings, hosts: int) -> Settings:
    """Settings for one of several hosts, each judging tests of its own.

    More hosts must not mean more false alarms in a run, so each has its part of the rate
    (Bonferroni); and one analysis, since another's launches will join its own for the last word.
    """
    if hosts == 1:
        return settings
    policy = settings.profile.policy
    shared = policy.model_copy(
        update={"looks": 1, "false_alarm_rate": policy.false_alarm_rate / hosts}
    )
    return replace(settings, profile=settings.profile.model_copy(update={"policy": shared}))


@dataclass(frozen=True)
class Delivery:
    """What a worker of another host has sent: whose it is and the record so far."""

    host_id: str
    run: Run

    @property
    def host(self) -> str:
        """The host's own name."""
        return next((start.host for start in self.run.starts), "unknown")


def latest(deliveries: Iterable[Delivery]) -> list[Delivery]:
    """One delivery a host: workers of one host send the same launches, the last the most."""
    best: dict[str, Delivery] = {}
    for one in deliveries:
        known = best.get(one.host_id)
        if known is None or len(one.run.starts) > len(known.run.starts):
            best[one.host_id] = one
    return list(best.values())


def take_over(
    delivery: Delivery, folder: Path, own_identity: dict[str, object]
) -> RunWarning | None:
    """Add a host's launches to the run in `folder`, or keep its record beside it.

    Launches are numbered on, so that no pair of one host meets a launch of another. Returns a
    warning for the record if the host is of another identity.
    """
    run = delivery.run
    if run.identity == own_identity:
        first = 1 + max((start.index for start in read_starts(folder)), default=-1)
        for start in run.starts:
            moved = {"index": start.index + first, "pair": start.pair + first}
            write_start(start.model_copy(update=moved), folder)
        return None
    name = f"{delivery.host}-{delivery.host_id}"
    beside = folder / HOSTS_FOLDER / name
    write_run(run, beside / RUN_FILE)
    write_reports(run, beside, profile=None)
    differing = sorted(
        key
        for key in run.identity.keys() | own_identity.keys()
        if run.identity.get(key) != own_identity.get(key)
    )
    return RunWarning(
        code="host-of-another-identity",
        host=delivery.host,
        fields=differing,
        text=f"{HOSTS_FOLDER}/{name}/{RUN_FILE}",
    )
