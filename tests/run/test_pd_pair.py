from threading import Event, Thread
from types import SimpleNamespace

from append_prefill.records.pd_pair import PairBackend
from append_prefill.run import pd_pair
from append_prefill.run.pd_pair import Turn, measure_pairs, read_pairs


def bed_of(folder):
    return SimpleNamespace(folder=folder, plan=SimpleNamespace(backends=("a", "b")))


def measured_by(monkeypatch, tried):
    def measure(bed, backend):
        tried.append(backend)
        return PairBackend(backend=backend, launches=[], reason="none here")

    monkeypatch.setattr(pd_pair, "measure_backend", measure)


def test_each_backend_is_measured_once_and_kept(monkeypatch, tmp_path):
    tried = []
    measured_by(monkeypatch, tried)
    assert read_pairs(tmp_path) == []
    measure_pairs(bed_of(tmp_path))
    measure_pairs(bed_of(tmp_path))
    assert tried == ["a", "b"]
    assert [one.backend for one in read_pairs(tmp_path)] == ["a", "b"]


def turn_at(folder):
    settings = SimpleNamespace(
        candidate=None,
        guard=lambda device: None,
        vocab_size=1,
        profile=SimpleNamespace(plan=SimpleNamespace(output_tokens=2)),
    )
    plan = SimpleNamespace(pd_pair=SimpleNamespace(backends=("a", "b")), seed=1)
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
    assert (tried, seen) == (["a", "b"], [True])
