import threading
import time

import pytest

from append_prefill.errors import JudgingError
from append_prefill.run.queue import PairQueue, QueueState


def close(state: QueueState) -> QueueState:
    return state.model_copy(update={"closed": "all planned pairs are done"})


def test_one_worker_does_every_pair_once(tmp_path):
    seen = []
    state = PairQueue(tmp_path, 3, close).work(seen.append)
    assert seen == [0, 1, 2]
    assert state.closed == "all planned pairs are done"


def test_workers_share_the_pairs(tmp_path):
    seen, barrier = [], threading.Barrier(3)

    def work():
        first = True

        def measure(index):
            nonlocal first
            if first:  # nobody takes a second pair before everybody has one
                barrier.wait(timeout=10)
                first = False
            seen.append(index)

        PairQueue(tmp_path, 7, close).work(measure)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert sorted(seen) == list(range(7))


def test_more_pairs_can_be_planned_at_the_end(tmp_path):
    def decide(state):
        return state.model_copy(update={"planned": 4}) if state.planned == 2 else close(state)

    seen = []
    PairQueue(tmp_path, 2, decide).work(seen.append)
    assert seen == [0, 1, 2, 3]


def test_a_failure_ends_everybodys_work(tmp_path):
    def fail(index):
        raise RuntimeError("the server died")

    queue = PairQueue(tmp_path, 3, close)
    with pytest.raises(RuntimeError):
        queue.work(fail)
    state = PairQueue(tmp_path, 3, close).work(lambda _: pytest.fail("took a pair"))
    assert (state.failed, state.judging_failed) == ("RuntimeError: the server died", False)


def test_an_interim_analysis_that_fails_is_told_from_a_failure_to_measure(tmp_path):
    """What was measured stands, and nobody measures on."""

    def decide(state):
        raise JudgingError("Judging failed: of two launches none is slower.")

    seen = []
    with pytest.raises(JudgingError):
        PairQueue(tmp_path, 2, decide).work(seen.append)
    state = PairQueue(tmp_path, 2, close).work(lambda _: pytest.fail("took a pair"))
    assert (seen, state.done) == ([0, 1], [0, 1])
    assert state.judging_failed
    assert state.failed == "Judging failed: of two launches none is slower."


def test_what_failed_first_is_what_is_told():
    state = QueueState(planned=1)
    state.fail(RuntimeError("the server died"))
    state.fail(JudgingError("of nothing"))
    assert (state.failed, state.judging_failed) == ("RuntimeError: the server died", False)


def test_no_pair_is_under_way_when_it_is_decided_whether_to_measure_on(tmp_path):
    """Three workers: the last pair of the first two rounds is waited for, and is in what is judged,
    so that none is left over when the queue is closed.
    """
    running, most, judged, lock = set(), [], [], threading.Lock()

    def decide(state):
        judged.append((set(running), state.done))
        if state.planned == 3:
            return state.model_copy(update={"planned": 5})
        return close(state)

    def measure(index):
        with lock:
            running.add(index)
            most.append(len(running))
        time.sleep(0.05 * (index + 1))
        with lock:
            running.discard(index)

    def work():
        PairQueue(tmp_path, 3, decide).work(measure)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert max(most) > 1
    assert judged == [(set(), [0, 1, 2]), (set(), [0, 1, 2, 3, 4])]


def test_the_pair_of_a_dead_worker_is_claimed_again(tmp_path):
    """The claim is a lock of the process; releasing it is what the system does at its death."""
    dead = PairQueue(tmp_path, 2, close)
    index, lock = dead._claim()
    assert index == 0
    lock.release()
    seen = []
    PairQueue(tmp_path, 2, close).work(seen.append)
    assert seen == [0, 1]


def test_what_is_free_is_what_a_worker_would_be_given(tmp_path):
    queue = PairQueue(tmp_path, 3, close)
    seen = []

    def measure(index):
        # Another worker of the run, asked while this one measures.
        seen.append((index, PairQueue(tmp_path, 3, close).free(), queue.free()))

    assert queue.free() == 0
    queue.work(measure)
    assert seen == [(0, 1, 1), (1, 2, 2), (2, None, None)]


@pytest.mark.parametrize(
    ("error", "interrupted"), [(KeyboardInterrupt(), True), (RuntimeError("died"), False)]
)
@pytest.mark.parametrize("where", ["measuring", "deciding"])
def test_an_interruption_is_told_from_a_failure(tmp_path, error, interrupted, where):
    def raising(_):
        raise error

    queue = PairQueue(tmp_path, 1, raising if where == "deciding" else close)
    with pytest.raises(type(error)):
        queue.work(raising if where == "measuring" else lambda _: None)
    state = queue.state()
    assert (state.interrupted, state.closed) == (interrupted, None)
    assert state.failed.startswith(type(error).__name__)


def test_what_ended_it_first_stays(tmp_path):
    state = QueueState(planned=2)
    state.fail(RuntimeError("the server died"))
    state.fail(KeyboardInterrupt())
    assert (state.failed, state.interrupted) == ("RuntimeError: the server died", False)
