"""Threads of real processes are moved and put back."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from append_prefill.probe.placement.placer import Placer, threads_of
from append_prefill.probe.placement.topology import Topology

# A server: a main thread, two more, and a child with one thread; prints when all are there.
SERVER = textwrap.dedent("""
    import subprocess, sys, threading
    for _ in range(2):
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    print(child.pid, flush=True)
    threading.Event().wait(60)
""")
ALLOWED = sorted(os.sched_getaffinity(0))
pytestmark = pytest.mark.skipif(len(ALLOWED) < 2, reason="one core: nothing can be moved")


@pytest.fixture
def server():
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline())
    yield process.pid, child
    for pid in (child, process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()


def cores(count):
    """A topology of `count` cores on whatever this machine has."""
    return Topology(tuple((ALLOWED[i % 2],) for i in range(count)))


def others(pid, *but):
    return threads_of(pid) - set(but)


def test_busy_threads_are_alone_on_their_core_and_the_others_have_the_rest(server):
    main, child = server
    before = os.sched_getaffinity(0)
    placer = Placer("turns", cores(9), (1, 0))
    with placer.measuring():
        record = placer.place(0, {"candidate": {"http": main, "scheduler": child}}, {main, child})
        assert os.sched_getaffinity(0) == {record["client"]}
        assert os.sched_getaffinity(main) == {record["candidate"]["http"]}
        assert os.sched_getaffinity(child) == {record["candidate"]["scheduler"]}
        assert len(others(main, main)) == 2
        for thread in others(main, main):
            assert os.sched_getaffinity(thread) == set(record["rest"])
    for thread in (0, *threads_of(main), child):
        assert os.sched_getaffinity(thread) == before


def test_every_turn_moves_what_has_to_move(server):
    main, _ = server
    moves = []

    def counted(thread, mask):
        moves.append(thread)
        os.sched_setaffinity(thread, mask)

    placer = Placer("turns", cores(9), (1, 0), set_affinity=counted)
    seen = set()
    with placer.measuring():
        for turn in range(12):
            record = placer.place(turn, {"candidate": {"http": main}}, {main})
            assert os.sched_getaffinity(main) == {record["candidate"]["http"]}
            seen.add(record["candidate"]["http"])
            again = len(moves)
            placer.place(turn, {"candidate": {"http": main}}, {main})
            assert len(moves) == again
    assert seen == set(ALLOWED[:2])


def test_a_thread_that_starts_meanwhile_gets_the_mask_of_the_others(server):
    before = os.sched_getaffinity(0)
    main, _ = server
    done = threading.Event()
    found = []
    thread = threading.Thread(target=lambda: (found.append(threading.get_native_id()), done.wait()))
    placer = Placer("turns", cores(9), (1, 0))
    try:
        with placer.measuring():
            placer.place(0, {"candidate": {"http": main}}, {main})
            thread.start()
            while not found:
                time.sleep(0.01)
            assert os.sched_getaffinity(found[0]) != before
        assert os.sched_getaffinity(found[0]) == before
    finally:
        done.set()
        thread.join()


def test_an_error_while_measuring_puts_everything_back(server):
    main, _ = server
    before = os.sched_getaffinity(0)
    placer = Placer("turns", cores(9), (1, 0))
    with contextlib.suppress(ZeroDivisionError), placer.measuring():
        placer.place(0, {"candidate": {"http": main}}, {main})
        assert os.sched_getaffinity(0) != before
        raise ZeroDivisionError
    for thread in (0, *threads_of(main)):
        assert os.sched_getaffinity(thread) == before


def test_a_server_that_is_gone_is_no_error():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    placer = Placer("turns", cores(9), (1, 0))
    with placer.measuring():
        record, void = placer.try_to_place(
            0, {"candidate": {"http": process.pid}}, lambda: {process.pid}
        )
    assert void is None
    assert record["candidate"].keys() == {"http"}


def test_a_core_that_was_taken_away_voids_the_block(server):
    main, _ = server
    placer = Placer("turns", Topology(tuple((4000 + i,) for i in range(8))), (1, 0))
    with placer.measuring():
        record, void = placer.try_to_place(0, {"candidate": {"http": main}}, lambda: {main})
    assert record == void
    assert "cannot be put on core [40" in void
    assert "Invalid argument" in void


@pytest.mark.parametrize(
    ("policy", "count", "roles", "reason"),
    [
        ("off", 16, {"http": 1}, "off in the profile"),
        ("turns", 2, {"http": 1}, "too few cores: 2 for this device, 3 are needed"),
        ("turns", 16, {}, "the servers' threads cannot be seen from here"),
    ],
)
def test_what_is_not_placed_says_why_and_moves_nothing(policy, count, roles, reason):
    def refuse(*_):
        raise AssertionError("nothing is to be moved")

    placer = Placer(policy, cores(count), (1, 0), set_affinity=refuse)
    record, void = placer.try_to_place(0, {"candidate": roles}, set)
    assert reason in record
    assert void is None


def test_a_killed_run_leaves_nothing_pinned(tmp_path):
    """Masks belong to threads: what a killed run leaves are the masks of nobody."""
    script = textwrap.dedent(f"""
        import os, subprocess, sys, threading
        from append_prefill.probe.placement.placer import Placer
        from append_prefill.probe.placement.topology import Topology
        child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"],
                                 stdin=subprocess.PIPE)
        placer = Placer("turns", Topology(tuple(({ALLOWED[0]},) for _ in range(9))), (1, 0))
        with placer.measuring():
            placer.place(0, {{"candidate": {{"http": child.pid}}}}, {{child.pid}})
            print(child.pid, flush=True)
            threading.Event().wait(60)
    """)
    run = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    child = int(run.stdout.readline())
    assert os.sched_getaffinity(run.pid) == {ALLOWED[0]}
    run.kill()
    run.wait()
    run.stdout.close()
    limit = time.monotonic() + 15
    while threads_of(child) and time.monotonic() < limit:
        time.sleep(0.02)
    assert threads_of(child) == set()
    assert os.sched_getaffinity(0) == set(ALLOWED)
