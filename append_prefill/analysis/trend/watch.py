"""Following a history: which sessions bring a slow-down, and which take it away again.

What is expected of a session is the reference and all shifts known so far. A session, or the mean
of the last few, that lies above it by `min_effect` and beyond chance opens an alert and becomes
part of what is expected, so that the same slow-down alarms once. One that lies below it closes the
alerts whose sizes explain the fall best. What no alert explains is a gain: it is expected from then
on as well, since to lose it again is a regression.

As long as nothing is known the run's own rule opens alerts, too, so that no red run is without one.
The means over several sessions find what no single one shows. A slow creep is held against the
reference, which stays where it is; once found it may grow without a second alarm.

The rate of the policy is that of a session: half of it for parts of the plane, a quarter for the
level and for the points, each split over its quantities and the windows (Bonferroni).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, combinations

import numpy as np
from scipy import special

from append_prefill.analysis.summary import FloatArray
from append_prefill.analysis.trend.alerts import Alert
from append_prefill.analysis.trend.findings import finding_alerts
from append_prefill.analysis.trend.ramps import LED_UP, creeps_on, crept
from append_prefill.analysis.trend.shifts import Shift, alert_of, total_of
from append_prefill.analysis.trend.table import LEAST_STEPS, Table
from append_prefill.workload.policy import Policy

WINDOWS = (1, 4, 16)
"""Sessions whose mean is held against what is expected: one finds a step at once, four and sixteen
what is half and a quarter of the scatter of one. Between them no factor of two is lost."""

SETTLED = 8
"""Sessions over which a shift's size is taken: its error is a third of a session's scatter then."""

NOMINAL = 0.05
"""One-sided: at which the size of a young shift must be able to be worth a name, or it goes."""

_NOMINAL_Z = -float(special.ndtri(NOMINAL))

_MOST_SUBSETS = 6
"""Open alerts, the newest ones, that a fall may be explained by; in all ways they are 64."""

SHARES = {"level": 0.25, "part": 0.5, "point": 0.25}


@dataclass(slots=True)
class _Watch:
    """`since`: the first session of the state that means are taken of. `calm`: of that in which
    nothing happened but `odd` sessions, which ramps are looked for in.
    """

    table: Table
    policy: Policy
    shifts: list[Shift] = field(default_factory=list)
    gone: list[Shift] = field(default_factory=list)
    since: int = 0
    calm: int = 0
    odd: set[int] = field(default_factory=set)

    @property
    def expected(self) -> FloatArray:
        known = [shift.sizes for shift in self.shifts if shift.active]
        zero = np.zeros(len(self.table.quantities))
        return np.asarray(sum(known, zero))

    @property
    def least(self) -> float:
        return float(np.log1p(self.policy.min_effect))

    def follow(self) -> list[Shift]:
        """Every slow-down there was, in the order they were opened."""
        for i in range(len(self.table.sessions)):
            if i and self.table.references[i] != self.table.references[i - 1]:
                self._move(i)
            self._step(i)
        return sorted((*self.gone, *self.shifts), key=lambda shift: shift.opened)

    def _step(self, i: int) -> None:
        self._forget_odd(i)
        if (rise := self._beyond(i, +1)) is not None:
            self._rise(i, *rise)
        elif (fall := self._beyond(i, -1)) is not None:
            self._fall(i, *fall)
        else:
            self._sight(i)
            self._refine(i)

    def _mean(self, i: int, window: int) -> FloatArray | None:
        """Of the last sessions, less what is expected; None where not all are of one state."""
        if i - window + 1 < self.since:
            return None
        rows = self.table.log[i - window + 1 : i + 1]
        return np.asarray((rows[0] if window == 1 else rows.mean(axis=0)) - self.expected)

    def _error(self, i: int, window: int) -> FloatArray:
        """Sd of such a mean: of the sessions, the reference, and the youngest shift's size."""
        young = self.shifts[-1] if self.shifts and self.shifts[-1].active else None
        parts = 1 / window + float(self.table.shared[i])
        if young is not None:
            parts += 1 / min(max(i - young.opened, 1), SETTLED)
        return np.asarray(self.table.scatter[i] * np.sqrt(parts))

    def _beyond(self, i: int, sign: int) -> tuple[int, int, FloatArray] | None:
        """(quantity, window, mean) of what lies furthest beyond chance, if anything does.

        `sign` +1 looks for what is slower.
        """
        best: tuple[float, int, int, FloatArray] | None = None
        thresholds = self._thresholds(i)
        for window in WINDOWS:
            mean = self._mean(i, window)
            if mean is None:
                continue
            with np.errstate(invalid="ignore", divide="ignore"):
                z = sign * mean / self._error(i, window)
            said = (sign * mean >= self.least) & (z >= thresholds)
            if sign > 0 and window == 1:
                # The reference is all that is known, and the run has its own word on that.
                own = self.table.slower[i] & (self.expected == 0) & (mean >= self.least)
                said |= own
                z = np.where(own & ~np.isfinite(z), 0.0, z)
            if not said.any():
                continue
            leader = int(np.argmax(np.where(said, z, -np.inf)))
            # Everywhere is the plainer word, unless a part shows far more than the whole.
            if said[0] and abs(mean[leader]) < 1.5 * abs(mean[0]):
                leader = 0
            if best is None or z[leader] > best[0]:
                best = (float(z[leader]), leader, window, mean)
        return None if best is None else best[1:]

    def _thresholds(self, i: int) -> FloatArray:
        kinds = [_kind(quantity) for quantity in self.table.quantities]
        rate = self.policy.false_alarm_rate / len(WINDOWS)
        return np.array(
            [
                _quantile(rate * SHARES[kind] / kinds.count(kind), float(steps))
                for kind, steps in zip(kinds, self.table.steps[i], strict=True)
            ]
        )

    def _rise(self, i: int, leader: int, window: int, mean: FloatArray) -> None:
        first = i - window + 1
        young = self.shifts[-1] if self.shifts else None
        if young is not None and young.slower and self._creeps_on(i, first, young):
            # What was taken for a step goes on.
            young.kind = "creep"
            self._sight(i)
            self._refine(i)
            return
        led_from = max(self.calm, i - LED_UP + 1)
        shift = Shift(
            leader=leader,
            sizes=np.nan_to_num(mean),
            opened=i,
            led_from=led_from,
            kind="creep" if self._crept(i, led_from, leader) else "step",
            reference=self.table.references[i],
            last=i,
        )
        if window > 1:
            shift.sightings = window  # it took them all to show it
        self.shifts.append(shift)
        self.since = self.calm = first

    def _crept(self, i: int, led_from: int, leader: int) -> bool:
        """Whether a ramp explains the last sessions better than a step does."""
        return crept(*self._looked_back(i, led_from, leader, self.expected))

    def _creeps_on(self, i: int, first: int, young: Shift) -> bool:
        """Whether a ramp explains a young step and this rise better than two steps do.

        The size of a creep follows it, so what rises above that is no more of it.
        """
        if young.kind == "creep" or young.opened <= i - LED_UP:
            return False
        without = self.expected - young.sizes
        looked_back = self._looked_back(i, young.led_from, young.leader, without)
        opened = (young.opened - young.led_from, first - young.led_from)
        return creeps_on(*looked_back, *opened)

    def _looked_back(
        self, i: int, start: int, leader: int, expected: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """The leader and the level less what is expected, and the numbers from `start` on."""
        rows = (self.table.log[start : i + 1] - expected)[:, [leader, 0]]
        ages = np.arange(float(len(rows)))
        odd = [float(at - start) for at in self.odd]
        known = np.isfinite(rows).all(axis=1) & ~np.isin(ages, odd)
        return rows[known], ages[known]

    def _fall(self, i: int, leader: int, window: int, mean: FloatArray) -> None:
        known = [s for s in self.shifts if s.slower][-_MOST_SUBSETS:]
        subsets = chain.from_iterable(combinations(known, n) for n in range(len(known) + 1))
        closed = min(subsets, key=lambda some: abs(mean[leader] + total_of(some, leader)))
        left = np.nan_to_num(mean) + np.asarray(sum((s.sizes for s in closed), np.zeros(len(mean))))
        telling = max(self.least, float(2 * self._error(i, window)[leader]))
        for shift in closed:
            shift.closed = i
        if closed and left[leader] >= telling:  # part of it is left
            largest = max(closed, key=lambda s: s.size)
            largest.closed, largest.sizes = None, left
        self.gone += [shift for shift in closed if shift.closed is not None]
        self.shifts = [shift for shift in self.shifts if shift.active]
        self.since = self.calm = i - window + 1
        if left[leader] <= -telling or not closed:
            reference = self.table.references[i]
            self.shifts.append(Shift(leader, left, i, i, "step", reference, slower=False, last=i))

    def _sight(self, i: int) -> None:
        """Count the alerts that this session shows: half of their size at the least."""
        for shift in self.shifts:
            if self._shown(i, shift) >= 1 / 2:
                shift.sightings += 1
                shift.last = i

    def _refine(self, i: int) -> None:
        """Take the youngest shift's size from all its sessions, of a creep from the last ones.

        One that cannot be worth a name, and may be nothing at all, was chance.
        """
        young = self.shifts[-1] if self.shifts else None
        if young is None:
            return
        count = i - self.since + 1
        if young.kind == "creep":
            rows = self.table.log[max(self.since, i - SETTLED + 1) : i + 1]
        elif count <= SETTLED and young.opened >= self.since:
            rows = self.table.log[self.since : i + 1]
        else:
            return
        with np.errstate(invalid="ignore"):
            young.sizes = np.nan_to_num(rows.mean(axis=0) - self.expected + young.sizes)
        error = float(self.table.scatter[i, young.leader]) / np.sqrt(len(rows))
        spread = _NOMINAL_Z * error
        if count > 1 and abs(young.size) < min(spread, self.least - spread):
            young.closed, young.sightings = i, 1
            self.gone.append(self.shifts.pop())

    def _forget_odd(self, i: int) -> None:
        """What one session alone showed was that session's, if this one shows neither half of it
        nor anything beyond chance.

        So a device that was slow once explains no fall of what others have shown.
        """
        young = self.shifts[-1] if self.shifts else None
        if young is None or young.sightings > 1 or young.kind == "creep":
            return  # a creep was led up to by others
        there = self._shown(i, young)
        chance = _NOMINAL_Z * float(self.table.scatter[i, young.leader])
        if there < 1 / 2 and not there * abs(young.size) > chance:
            self.shifts.pop()
            self.gone.append(young)
            young.closed, self.since, self.calm = i, i, young.led_from
            self.odd.add(young.opened)

    def _shown(self, i: int, shift: Shift) -> float:
        """How much of the shift's size the session shows; NaN where it has no value there."""
        above = self.table.log[i, shift.leader] - self.expected[shift.leader] + shift.size
        return float(above / shift.size) if shift.size else float("nan")

    def _move(self, i: int) -> None:
        """The reference is another one: what it shows no longer is accepted with it."""
        for shift in self.shifts:
            total = sum(s.size for s in self.shifts if s.leader == shift.leader and s.slower)
            seen = self.table.log[i, shift.leader]
            if not (shift.slower and seen >= total / 2):
                shift.moved_to, shift.last = self.table.references[i], i
        self.gone += [shift for shift in self.shifts if not shift.active]
        self.shifts = [shift for shift in self.shifts if shift.active]
        self.since = self.calm = i


def alerts_of(table: Table, policy: Policy, lineage: str) -> list[Alert]:
    """Every alert of a history, oldest first; `lineage` names the history in their ids."""
    shifts = [shift for shift in _Watch(table, policy).follow() if shift.slower]
    found = [alert_of(shift, table, lineage) for shift in shifts]
    found += finding_alerts(table.sessions, lineage)
    return sorted(found, key=lambda alert: alert.opened.at)


def _kind(quantity: str) -> str:
    if quantity == "level":
        return "level"
    return "point" if quantity.startswith("point:") else "part"


@lru_cache(maxsize=4096)
def _quantile(rate: float, steps: float) -> float:
    """Scatters beyond which a session lies by chance as rarely as `rate`.

    A median of differences is worth 0.37 of their number, and neighbouring ones share a session: a
    third is on the safe side. A scatter taken from intervals counts like two sessions, and one
    more for each difference there is already.
    """
    df = steps / 3 if steps >= LEAST_STEPS else 2 + steps
    return -float(special.stdtrit(df, rate))
