"""The search over a list, with comparisons that are written and not measured."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pytest

from append_prefill.errors import InfrastructureError
from append_prefill.run.bisection.lists import Position
from append_prefill.run.bisection.search import Search
from append_prefill.workload.profile import load_profile
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


class World:
    """Versions with levels; a comparison leaves a run with noise of 0.5 %, or of a `busy` machine
    one without an answer.
    """

    busy = False

    def __init__(self, folder, levels, *, unmade=(), dead=(), interrupt_at=None):
        self.folder, self.levels, self.dead = folder, levels, dead
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
def test_an_end_that_cannot_be_measured_ends_it(tmp_path, end):
    world = World(tmp_path, [0, 0, 0.06, 0.06], dead=[end])
    with pytest.raises(InfrastructureError, match=f"v{end} is an end of the list"):
        world.search()


def test_a_comparison_that_left_no_run_ends_it(tmp_path):
    world = World(tmp_path, [0, 0.1])
    world.measure = lambda *_: True
    with pytest.raises(InfrastructureError, match="v1 with v0 launched nothing"):
        world.search()


def test_a_machine_that_gives_no_answers_ends_it_and_blames_no_version(tmp_path):
    world = World(tmp_path, [0, 0, 0.06, 0.06])
    world.busy = True
    with pytest.raises(InfrastructureError, match="3 comparisons in a row have no answer"):
        world.search()
    assert not [line for line in world.said if "left out" in line]
    # Later it is quiet, and the search goes on.
    world.busy = False
    assert world.search().ended == "settled"
