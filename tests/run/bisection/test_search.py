"""The search over a list, with comparisons that are written and not measured."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pytest

from append_prefill.errors import InfrastructureError
from append_prefill.records.launch import Void
from append_prefill.run.bisection.lists import Position
from append_prefill.run.bisection.search import Search
from append_prefill.workload.loading import load_profile
from tests.run.bisection.runs import compared, leave


@dataclass
class Listed:
    """Positions called v0, v1 …; `unmade` cannot be installed."""

    count: int
    unmade: frozenset[int] = frozenset()
    listed: str = "releases"
    made_: list[int] = field(default_factory=list)

    @property
    def positions(self):
        return [Position(f"v{at}") for at in range(self.count)]

    def at_hand(self, at):
        return at in self.made_

    def made(self, at, folder):
        if at in self.unmade:
            raise InfrastructureError("no wheel of it")
        self.made_.append(at)
        return f"env-{at}"


def unproven(start):
    """A launch none of whose samples shows the split that was asked for."""
    void = [Void(reason="cached 0 tokens, not 256", count=5)]
    names = ("ttft_ms", "e2e_ms", "itl_ms", "output_tokens", "cached_tokens", "block")
    empty: dict[str, list[float]] = {name: [] for name in names}
    series = [one.model_copy(update={**empty, "void": void}) for one in start.series]
    return start.model_copy(update={"series": series})


class World:
    """Versions with levels; a comparison leaves a run with noise of 0.5 %, or of a `busy` machine
    one without an answer.
    """

    busy = False

    def __init__(self, folder, levels, *, unmade=(), dead=(), broken=(), interrupt_at=None):
        self.folder, self.levels, self.dead, self.broken = folder, levels, dead, broken
        self.listed = Listed(len(levels), frozenset(unmade))
        self.rng, self.said, self.asked = np.random.default_rng(1), [], []
        self.interrupt_at = interrupt_at

    def measure(self, earlier, earlier_env, later, later_env):
        self.asked.append((earlier.name, later.name))
        if len(self.asked) == self.interrupt_at:
            return False
        a, b = (int(one.name[1:]) for one in (earlier, later))
        assert (earlier_env, later_env) == (f"env-{a}", f"env-{b}")
        number = len(list((self.folder / "runs").glob("*")))
        if self.busy:
            run = compared(later.name, earlier.name, None, verdict="infrastructure")
        elif dead := {a, b} & set(self.dead):
            side = "candidate" if b in dead else "reference"
            run = compared(later.name, earlier.name, None, verdict="infrastructure")
            text = f"died\nLast lines of /x/{side}-0.log:\nboom"
            run.starts = [
                s.model_copy(update={"failure": text, "measured_s": None}) for s in run.starts[:2]
            ]
        elif {a, b} & set(self.broken):
            side = "candidate" if b in self.broken else "reference"
            run = compared(later.name, earlier.name, None, verdict="infrastructure")
            run.starts = [unproven(s) if s.side == side else s for s in run.starts]
        else:
            ratio = math.exp(self.levels[b] - self.levels[a] + self.rng.normal(0, 0.005))
            run = compared(later.name, earlier.name, ratio)
        leave(self.folder, number, run)
        return True

    def search(self, budget=1e6):
        return Search(
            self.listed, load_profile("cpu-nano"), ["append"], 3, 5, budget, self.folder,
            {"options": ""}, "append-prefill bisect", self.measure, self.said.append,
            lambda number, made: f"{number}", None,
        ).run()  # fmt: skip


def test_steps_are_found_and_every_comparison_is_on_disk(tmp_path):
    world = World(tmp_path, [0, 0, 0.06, 0.06, 0.06, 0.03])
    found = world.search()
    assert [(s.before, s.after, s.unknown) for s in found.steps] == [
        ("v1", "v2", []),
        ("v4", "v5", []),
    ]
    assert found.ended == "settled"
    assert len(found.comparisons) == len(world.asked)
    assert found.total is not None
    assert found.total.low < math.exp(0.03) < found.total.high
    assert [p.level is not None for p in found.positions] == [True] * 6
    assert found.minutes == pytest.approx(sum(c.minutes for c in found.comparisons))


def test_it_goes_on_from_what_is_on_disk(tmp_path):
    levels = [0, 0, 0.06, 0.06]
    first = World(tmp_path, levels, interrupt_at=3)
    assert first.search().ended == "interrupted"
    second = World(tmp_path, levels)
    found = second.search()
    assert found.ended == "settled"
    assert len(found.comparisons) == 2 + len(second.asked)
    third = World(tmp_path, levels)
    assert third.search().steps == found.steps
    assert third.asked == []


def test_a_budget_that_is_spent_ends_it(tmp_path):
    found = World(tmp_path, [0, 0, 0.06, 0.06]).search(budget=0)
    assert (found.ended, len(found.comparisons)) == ("budget", 1)


def test_what_does_not_install_or_start_is_left_out_and_named(tmp_path):
    world = World(tmp_path, [0, 0, 0.06, 0.06, 0.06, 0.06], unmade=[1], dead=[3])
    found = world.search()
    problems = {p.name: p.problem for p in found.positions if p.problem}
    assert problems == {"v1": "no wheel of it", "v3": "died: boom"}
    (log,) = (p.log for p in found.positions if p.name == "v3")
    assert log is not None
    assert (tmp_path / log).parent.is_dir()
    (step,) = found.steps
    # Between v0 and v2, of which v1 cannot be told.
    assert (step.before, step.after, step.unknown) == ("v0", "v2", ["v1"])
    assert found.ended == "settled"
    assert sum("left out" in line for line in world.said) == 2


@pytest.mark.parametrize("end", [0, 3])
def test_an_end_that_cannot_be_measured_stops_it(tmp_path, end):
    world = World(tmp_path, [0, 0, 0.06, 0.06], dead=[end])
    found = world.search()
    assert (found.ended, found.total, found.steps) == ("stopped", None, [])
    assert f"v{end} is an end of the list" in str(found.problem)
    (out,) = [p for p in found.positions if p.problem]
    assert (out.name, out.problem) == (f"v{end}", "died: boom")
    # What it was that did not start is to be seen.
    assert (tmp_path / found.comparisons[-1].folder).is_dir()


def test_a_comparison_that_left_no_run_is_asked_for_again(tmp_path):
    """As where the device was taken; three times, and then it stops."""
    world = World(tmp_path, [0, 0.1])
    measure, refused = world.measure, []

    def taken(*sides):
        refused.append(sides)
        return len(refused) < 3 or measure(*sides)

    world.measure = taken
    found = world.search()
    assert (found.ended, len(found.steps)) == ("settled", 1)
    assert len([line for line in world.said if "launched nothing" in line]) == 2
    other = World(tmp_path / "other", [0, 0.1])
    other.measure = lambda *_: True
    found = other.search()
    assert found.ended == "stopped"
    assert "v1 with v0 launched nothing" in str(found.problem)


def test_a_machine_that_gives_no_answers_stops_it_and_blames_no_version(tmp_path):
    world = World(tmp_path, [0, 0, 0.06, 0.06])
    world.busy = True
    found = world.search()
    assert found.ended == "stopped"
    assert "3 comparisons in a row have no answer" in str(found.problem)
    assert not [line for line in world.said if "left out" in line]
    # Later it is quiet, and the search goes on.
    world.busy = False
    assert world.search().ended == "settled"


def test_ctrl_c_while_an_environment_is_made_keeps_what_was_found(tmp_path):
    world = World(tmp_path, [0, 0, 0.06, 0.06])
    made = world.listed.made

    def interrupted(at, folder):
        if world.asked:
            raise KeyboardInterrupt
        return made(at, folder)

    world.listed.made = interrupted
    found = world.search()
    assert (found.ended, len(found.comparisons)) == ("interrupted", 1)
    world.listed.made = made
    (step,) = world.search().steps
    assert (step.before, step.after) == ("v1", "v2")


def test_splits_that_are_not_proven_leave_a_version_out(tmp_path):
    """It starts and answers, and none of its samples proves anything; its neighbours' do."""
    world = World(tmp_path, [0, 0, 0.06, 0.06, 0.06], broken=[2])
    found = world.search()
    problems = {p.name: p.problem for p in found.positions if p.problem}
    assert problems == {"v2": "100 % of its samples prove nothing"}
    (step,) = found.steps
    assert (step.before, step.after, step.unknown) == ("v1", "v3", ["v2"])
    assert found.ended == "settled"
