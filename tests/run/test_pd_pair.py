from threading import Event, Thread
from types import SimpleNamespace

import pytest

from append_prefill.records.pd_pair import PairBackend, PairLaunch
from append_prefill.run import pd_pair
from append_prefill.run.pd_pair import Turn, cut_pair, measure_pairs, read_pairs
from append_prefill.workload.pd_pair import PdPair

PLAN = PdPair(
    backends=("a", "b"),
    points=((8, 8), (16, 8)),
    launches=2,
    samples=3,
    argument="two launches are the fewest that can be cut between",
)


def bed_of(folder):
    return SimpleNamespace(folder=folder, plan=PLAN)


def measured_by(monkeypatch, tried):
    """Each further launch of a backend is told by its name and index."""

    def measure(bed, backend, launches=()):
        measured = list(launches)
        while len(measured) < bed.plan.launches:
            tried.append(f"{backend}{len(measured)}")
            measured.append(PairLaunch(index=len(measured), series=[]))
            yield PairBackend(backend=backend, launches=measured)

    monkeypatch.setattr(pd_pair, "measure_backend", measure)


def test_each_backend_is_measured_once_and_kept(monkeypatch, tmp_path):
    tried = []
    measured_by(monkeypatch, tried)
    assert read_pairs(tmp_path) == []
    measure_pairs(bed_of(tmp_path))
    measure_pairs(bed_of(tmp_path))
    assert tried == ["a0", "a1", "b0", "b1"]
    assert [one.backend for one in read_pairs(tmp_path)] == ["a", "b"]
    assert cut_pair(PLAN, read_pairs(tmp_path)) is None


def test_what_was_whole_when_it_was_cut_off_is_kept_and_gone_on_with(monkeypatch, tmp_path):
    tried = []
    measured_by(monkeypatch, tried)
    whole = pd_pair.measure_backend

    def cut_in_the_second(bed, backend, launches=()):
        yield next(iter(whole(bed, backend, launches)))
        raise KeyboardInterrupt

    with monkeypatch.context() as cut:
        cut.setattr(pd_pair, "measure_backend", cut_in_the_second)
        with pytest.raises(KeyboardInterrupt):
            measure_pairs(bed_of(tmp_path))
    warned = cut_pair(PLAN, read_pairs(tmp_path))
    assert (warned.code, warned.launches, warned.usable_launches) == ("pair-interrupted", 4, 1)
    measure_pairs(bed_of(tmp_path))
    assert tried == ["a0", "a1", "b0", "b1"]
    assert [len(one.launches) for one in read_pairs(tmp_path)] == [2, 2]


def test_a_backend_that_failed_is_whole_and_no_pair_is_no_cut():
    failed = PairBackend(
        backend="a", launches=[PairLaunch(index=0, series=[], failure="none")], reason="none"
    )
    assert cut_pair(PLAN, [failed]).usable_launches == 0
    assert cut_pair(PLAN, [failed, failed.model_copy(update={"backend": "b"})]) is None
    assert cut_pair(None, []) is None


def turn_at(folder):
    settings = SimpleNamespace(
        candidate=None,
        guard=lambda device: None,
        vocab_size=1,
        profile=SimpleNamespace(plan=SimpleNamespace(output_tokens=2)),
    )
    plan = SimpleNamespace(pd_pair=PLAN, seed=1)
    return Turn(settings, plan, folder, print)


def test_who_enters_first_measures_and_the_others_wait_for_it(monkeypatch, tmp_path):
    tried, entered = [], Event()
    measured_by(monkeypatch, tried)
    seen = []

    def another():
        with turn_at(tmp_path) as turn:
            entered.set()
            turn.await_it(None)
            seen.append(read_pairs(tmp_path) != [])

    with turn_at(tmp_path) as turn:
        waiting = Thread(target=another)
        waiting.start()
        assert entered.wait(10)
        assert seen == []
        turn.await_it("a device")
    waiting.join(10)
    assert (tried, seen) == (["a0", "a1", "b0", "b1"], [True])
