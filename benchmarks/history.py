"""A year of sessions in the history: what alarms, when, once or not, and how often falsely.

    python -m benchmarks.history [--sessions 365] [--histories 200]

Sessions are made of the committed A/A pairs of SGLang 0.5.17 on an H100 (`data/h100-2026-11`,
`placement-5`): five pairs drawn with their rounds, sides swapped at random, and effects put into
the candidate. Each is a run record, judged by the suite's own rules side by side, added to a
history and followed. Printed are

1. the year: three steps, a creep of 0.1 % a session, two fixes, ten sessions on a bad device (of
   five nothing is valid, in five the candidate alone is 8 % slower): when each alarmed, how
   often, and what it was closed by; which alarms belong to no event;
2. A/A histories of 30 and 365 sessions: false alarms of alerts, and how often the page of such a
   history shows a change point anywhere;
3. a thousand sessions in the store: the file's size, and seconds and bytes of the page.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path

import numpy as np

from append_prefill.analysis.rounds import by_round, rounds_of
from append_prefill.analysis.summary import FloatArray
from append_prefill.analysis.trend.alerts import Alert
from append_prefill.analysis.trend.series import trends_of
from append_prefill.analysis.trend.table import table_of
from append_prefill.analysis.trend.values import entry_of
from append_prefill.analysis.trend.watch import alerts_of
from append_prefill.records.definition import definition_of, protocol_of
from append_prefill.records.grounds import Side
from append_prefill.records.history import rows, schema
from append_prefill.records.history.entry import PURPOSE_KEY, Entry
from append_prefill.records.identity import compose_identity
from append_prefill.records.launch import BlockState, Series, Start, Warmup
from append_prefill.records.run import PlanRecord, Run
from append_prefill.report.history.page import render_history
from append_prefill.run.history import follow, followed, policy_of
from append_prefill.run.judge import judge
from append_prefill.run.references import References
from append_prefill.workload.loading import load_profile
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Profile
from benchmarks import packs

PACK = packs.DATA / "h100-2026-11" / "placement-5.json.gz"
ARM = "turns-sample"
PROFILE = "llama-3.1-8b"
SINCE = datetime(2026, 1, 1, 2, 17, tzinfo=UTC)

NIGHT_SD = 0.02
"""Of a session's level, which both sides have in common: the profile's."""

RATIO_SD = 0.0015
"""Of a session's ratio beyond its pairs: twenty real ones (`benchmarks.across_sessions`)."""


CREEPS = 40
"""Sessions that the creep goes on for."""

ODD = 0.08
"""What a bad device adds to the candidate alone, where the guard sees nothing."""

SOON = 60
"""Sessions after its beginning in which an alarm belongs to an event; later ones are false."""


@dataclass(frozen=True)
class Event:
    """What happens to the candidate from session `at` until before `until`.

    `effect` is relative: whole at once, or so much more each of `CREEPS` sessions (`creep`).
    """

    name: str
    at: int
    until: int
    effect: float
    creep: bool = False
    where: str = "everywhere"

    def of(self, session: int) -> float:
        """The effect in that session."""
        if not self.at <= session < self.until:
            return 0.0
        return self.effect * min(session - self.at + 1, CREEPS) if self.creep else self.effect


def year(sessions: int) -> list[Event]:
    """What happens, at parts of the year that leave each event weeks of its own.

    The creep begins where nothing else stands, so that a session that is red is so by the creep.
    """
    at = [round(sessions * part) for part in (0.11, 0.22, 0.3, 0.55, 0.62, 0.85)]
    first, first_fixed, second, second_fixed, creep, third = at
    return [
        Event("+4 % everywhere", first, first_fixed, 0.04),
        Event("+6 % where computing shows", second, second_fixed, 0.06, where="compute"),
        Event("creep of 0.1 % a session", creep, sessions, 0.001, creep=True),
        Event("+3 % everywhere", third, sessions, 0.03),
    ]


class Machine:
    """Draws sessions of one machine."""

    def __init__(self) -> None:
        pack = packs.load(PACK)
        self.profile = load_profile(PROFILE)
        self.points = tuple(packs.points_of(pack))
        # Log TTFT by pair, shape (2, rounds, points); a hole is an invalid sample.
        self.pool: list[FloatArray] = []
        for pair in packs.pairs([pack], ARM):
            rounds = rounds_of(*pair)
            self.pool.append(np.array([by_round(s, self.points, rounds) for s in pair]))
        self.compute = np.array([p.append_tokens > 308 for p in self.points])

    def run(self, session: int, events: Sequence[Event], seed: int, *, odd: float = 0.0) -> Run:
        """The judged record of one session; `odd` slows its candidate for this session alone."""
        rng = np.random.default_rng([seed, session])
        effect = np.full(len(self.points), np.log1p(odd) + RATIO_SD * rng.standard_normal())
        for event in events:
            there = self.compute if event.where == "compute" else np.ones_like(self.compute)
            effect = effect + there * np.log1p(event.of(session))
        night = NIGHT_SD * rng.standard_normal()
        starts = []
        for index in range(self.profile.plan.starts):
            pair = self.pool[rng.integers(len(self.pool))]
            drawn = pair[:, rng.integers(pair.shape[1], size=self.profile.plan.samples)]
            if rng.random() < 1 / 2:
                drawn = drawn[::-1]
            sides: tuple[tuple[Side, FloatArray], ...] = (
                ("candidate", drawn[0] + night + effect),
                ("reference", drawn[1] + night),
            )
            starts += [self._start(index, side, log, session) for side, log in sides]
        run = self._record(starts, session)
        return judge(
            run, self.profile, references=References(), kv_bytes_per_token=None, replicable=True
        )

    def failed(self, session: int) -> Run:
        """A session of whose blocks the guard made every one invalid."""
        run = self._record([], session)
        return run.model_copy(update={"verdict": "infrastructure"})

    def _record(self, starts: list[Start], session: int) -> Run:
        profile = self.profile
        return Run(
            created_at=SINCE + timedelta(days=session),
            suite={"version": "simulated", PURPOSE_KEY: "nightly"},
            definition=definition_of(profile),
            profile=profile.name,
            seed=session,
            identity=_identity(profile),
            subject={"sglang": _build(session)},
            state={"host": "node", "replicated": True},
            plan=PlanRecord(
                sides=["candidate", "reference"],
                starts=profile.plan.starts,
                samples=profile.plan.samples,
                points=[(p.context_tokens, p.append_tokens) for p in self.points],
                drawn=[],
                pairs=[["candidate", "reference"]] * profile.plan.starts,
                budget_minutes=60,
                link_gb_per_s=profile.link.gb_per_s,
            ),
            starts=starts,
        )

    def _start(self, index: int, side: Side, log: FloatArray, session: int) -> Start:
        at = SINCE + timedelta(days=session, minutes=2 * index)
        return Start(
            index=index,
            side=side,
            pair=index,
            host="node",
            device="GPU-1",
            started_at=at,
            ready_s=50.0,
            measured_s=60.0,
            server_args=[],
            subject={"sglang": _build(session) if side == "candidate" else "0.5.17"},
            warmup=Warmup(rounds=6, stationary=True, seconds_s=8.0),
            state=[
                BlockState(block=block, side=side, void=None, readings={})
                for block in range(len(log))
            ],
            client_floor_ms=None,
            interleaved=True,
            alternated="sample",
            series=[_series(p, log[:, column]) for column, p in enumerate(self.points)],
        )


def _series(point: Point, log: FloatArray) -> Series:
    blocks = [block for block, value in enumerate(log) if np.isfinite(value)]
    times = [round(float(np.exp(log[block])), 4) for block in blocks]
    return Series(
        context_tokens=point.context_tokens,
        append_tokens=point.append_tokens,
        ttft_ms=times,
        e2e_ms=times,
        itl_ms=[None] * len(times),
        output_tokens=[2] * len(times),
        cached_tokens=[point.context_tokens] * len(times),
        block=blocks,
    )


def _build(session: int) -> str:
    return f"0.5.24.dev{SINCE + timedelta(days=session):%Y%m%d}"


def _identity(profile: Profile) -> dict[str, object]:
    return compose_identity(
        device={"device_kind": "cuda", "device": "NVIDIA H100 80GB HBM3"},
        model={"name": profile.model.name},
        server_args=profile.server.args,
        server_env={},
        definition=definition_of(profile),
        protocol=protocol_of(profile),
    )


@dataclass(frozen=True)
class Odds:
    """The sessions on a bad device: of `failed` nothing is valid, `slow` ones are slow unseen."""

    failed: frozenset[int]
    slow: frozenset[int]


def odds_of(events: Sequence[Event], sessions: int, seed: int) -> Odds:
    """Ten sessions, none of them within two of where something begins or ends."""
    borders = {edge for event in events for edge in (event.at, event.until)}
    free = [i for i in range(14, sessions) if all(abs(i - edge) > 2 for edge in borders)]
    drawn = np.random.default_rng([seed, 10]).choice(free, size=10, replace=False).tolist()
    return Odds(frozenset(drawn[:5]), frozenset(drawn[5:]))


def entries_of(
    events: Sequence[Event], odds: Odds, sessions: int, seed: int, workers: int
) -> list[Entry]:
    """The year's sessions as their history keeps them."""
    jobs = [(i, tuple(events), odds, seed) for i in range(sessions)]
    with ProcessPoolExecutor(workers) as pool:
        return list(pool.map(_entry, jobs, chunksize=8))


def _entry(job: tuple[int, tuple[Event, ...], Odds, int]) -> Entry:
    session, events, odds, seed = job
    machine = _machine()
    if session in odds.failed:
        run = machine.failed(session)
    else:
        run = machine.run(session, events, seed, odd=ODD if session in odds.slow else 0.0)
    return entry_of(run, f"run-{session}")


@lru_cache
def _machine() -> Machine:
    return Machine()


def print_year(sessions: int, seed: int, workers: int) -> list[Entry]:
    events = year(sessions)
    odds = odds_of(events, sessions, seed)
    entries = entries_of(events, odds, sessions, seed, workers)
    (history,) = followed(entries)
    at = {entry.key: i for i, entry in enumerate(entries)}
    detectable = history.achieved.detectable or float("nan")
    red = {i for i, e in enumerate(entries) if e.verdict in ("regression", "broken")}
    print(f"A year of {sessions} sessions; one alone finds {detectable:.1%} everywhere, 95 in 100.")
    print(f"{'event':28} {'session':>7} {'alarmed':>8} {'alarms':>6}  what, closed by")
    slow = [Event("bad device", i, i + 1, ODD) for i in sorted(odds.slow)]
    ordered = sorted([*events, *slow], key=lambda event: event.at)
    owned: dict[int, list[Alert]] = {}
    findings, false = [], []
    for alert in history.alerts:
        opened = at[alert.opened.key]
        if alert.kind == "finding":
            findings.append(alert)
            continue
        own = [e for e in ordered if e.at <= opened < min(e.until, e.at + SOON)]
        if own and (own[-1] in slow or alert.state != "invalid"):
            owned.setdefault(own[-1].at, []).append(alert)
        else:
            false.append(alert)
    for event in ordered:
        own_alerts = owned.get(event.at, [])
        first = at[own_alerts[0].opened.key] if own_alerts else None
        delay = "never" if first is None else f"+{first - event.at}"
        what = "; ".join(_words(alert, at) for alert in own_alerts)
        print(f"{event.name:28} {event.at:>7} {delay:>8} {len(own_alerts):>6}  {what}")
        if event.creep and first is not None:
            before = len(red.intersection(range(event.at, first)))
            print(f"{'':28} sessions red before the alarm: {before} of {first - event.at}")
    print(f"bad device, nothing valid: {len(odds.failed)} sessions, none of them followed")
    print(f"false alarms: {len(false)}  {'; '.join(_words(a, at) for a in false)}")
    gone = sum(alert.state == "invalid" for alert in findings)
    print(f"findings that broke: {len(findings)}, of which {gone} in one session alone")
    return entries


def _words(alert: Alert, at: dict[str, int]) -> str:
    size = "" if alert.size is None else f" {np.expm1(alert.size):+.1%}"
    closed = "" if alert.closed is None else f" at {at[alert.closed.key]}"
    return f"{alert.quantity}{size} ({alert.kind}), {alert.state}{closed}"


def print_aa(pool: Sequence[Entry], histories: int, seed: int) -> None:
    """Of A/A sessions in random order: how often something alarms, and a page shows a change."""
    rng = np.random.default_rng([seed, 20])
    print("\nA/A histories, sessions drawn with replacement")
    print(
        f"{'sessions':>8} {'histories':>9} {'false alarms each':>18} "
        f"{'of findings':>11} {'pages':>6}"
    )
    for length in (30, 365):
        alarms = findings = pages = 0
        for _ in range(histories):
            drawn = [pool[i] for i in rng.integers(len(pool), size=length)]
            history = [_moved(entry, i) for i, entry in enumerate(drawn)]
            found = alerts_of(table_of(history), policy_of(PROFILE), "A/A")
            findings += sum(alert.kind == "finding" for alert in found)
            alarms += len(found)
            pages += any(trend.changes for trend in trends_of(history))
        print(
            f"{length:>8} {histories:>9} {alarms / histories:>18.2f} "
            f"{findings / histories:>11.2f} {pages / histories:>6.1%}"
        )


def _moved(entry: Entry, session: int) -> Entry:
    """The entry as of another session."""
    at = SINCE + timedelta(days=session)
    return replace(entry, key=f"{entry.key}-{session}", created_at=at, version=_build(session))


def print_size(pool: Sequence[Entry], sessions: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with schema.opened(folder) as connection:
            for i in range(sessions):
                rows.put(connection, _moved(pool[i % len(pool)], i))
        size = (folder / schema.HISTORY_FILE).stat().st_size
        began, busy = time.perf_counter(), time.process_time()
        page = render_history(follow(folder), now=SINCE + timedelta(days=sessions))
        took_s, busy_s = time.perf_counter() - began, time.process_time() - busy
        print(
            f"\n{sessions} sessions: the store {size / 1e6:.1f} MB; the page {took_s:.2f} s "
            f"({busy_s:.2f} s of CPU), {len(page.encode()) / 1e6:.2f} MB"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=365)
    parser.add_argument("--pool", type=int, default=240, help="A/A sessions to draw from")
    parser.add_argument("--histories", type=int, default=200)
    parser.add_argument("--stored", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the year's page there")
    options = parser.parse_args()
    seed, workers = options.seed, options.workers
    entries = print_year(options.sessions, seed, workers)
    if options.page is not None:
        now = SINCE + timedelta(days=options.sessions)
        options.page.write_text(render_history(followed(entries), now=now), encoding="utf-8")
    none = Odds(frozenset(), frozenset())
    pool = entries_of((), none, options.pool, seed + 1, workers)
    print_aa(pool, options.histories, seed)
    print_size(pool, options.stored)


if __name__ == "__main__":
    main()
