"""Locking a GPU's clock through a stub of NVML's bindings that writes down what is asked of it."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from append_prefill.engines.base import Device
from append_prefill.engines.clocks import lockable_mhz, locked_clocks
from append_prefill.errors import UsageError

GPU = Device("cuda", "GPU-1", "NVIDIA H200", 2**30)
STUB = textwrap.dedent("""
    import os
    NVML_CLOCK_SM = 1
    class NVMLError(Exception): pass
    def note(text):
        with open(os.environ["CLOCK_LOG"], "a") as log: log.write(text + "\\n")
    def nvmlInit(): pass
    def nvmlDeviceGetHandleByUUID(uuid): return uuid
    def nvmlDeviceGetMaxClockInfo(handle, kind): return 1980
    def nvmlDeviceSetGpuLockedClocks(handle, low, high):
        if os.environ.get("CLOCK_REFUSED"): raise NVMLError("Insufficient Permissions")
        note(f"lock {handle} {low} {high}")
    def nvmlDeviceResetGpuLockedClocks(handle): note(f"reset {handle}")
""")
LOCKED, UNLOCKED = "lock GPU-1 1485 1485", "reset GPU-1"


@pytest.fixture
def log(tmp_path, monkeypatch):
    (tmp_path / "pynvml.py").write_text(STUB)
    path = tmp_path / "clocks.log"
    path.touch()
    existing = [os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else []
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *existing]))
    monkeypatch.setenv("CLOCK_LOG", str(path))
    return lambda: path.read_text().splitlines()


def test_the_clock_is_locked_inside_and_free_afterwards(log):
    with locked_clocks(GPU) as mhz:
        assert mhz == 1485
        assert log() == [LOCKED]
    assert log() == [LOCKED, UNLOCKED]


def test_an_error_while_measuring_unlocks(log):
    with pytest.raises(ZeroDivisionError), locked_clocks(GPU):
        raise ZeroDivisionError
    assert log() == [LOCKED, UNLOCKED]


def test_trying_leaves_nothing_locked(log):
    assert lockable_mhz(GPU) == 1485
    assert log() == [LOCKED, UNLOCKED]


def test_a_killed_run_unlocks(log):
    code = textwrap.dedent("""
        import time
        from append_prefill.engines.base import Device
        from append_prefill.engines.clocks import locked_clocks
        with locked_clocks(Device("cuda", "GPU-1", "", 1)):
            print("locked", flush=True)
            time.sleep(60)
    """)
    run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert run.stdout.readline() == "locked\n"
    run.send_signal(signal.SIGKILL)
    run.wait()
    run.stdout.close()
    limit = time.monotonic() + 15
    while UNLOCKED not in log() and time.monotonic() < limit:
        time.sleep(0.02)
    assert log() == [LOCKED, UNLOCKED]


def test_a_user_without_permission_is_told_what_to_do(log, monkeypatch):
    monkeypatch.setenv("CLOCK_REFUSED", "1")
    with pytest.raises(UsageError, match="Insufficient Permissions") as caught, locked_clocks(GPU):
        pytest.fail("it is not locked")
    assert "--lock-clocks" in str(caught.value)
    assert "Run as root" in str(caught.value)
    assert log() == []


@pytest.mark.parametrize("device", ["cpu", "MIG-1"])
def test_what_has_no_clock_of_its_own_is_refused(log, device):
    with pytest.raises(UsageError, match="no clock of its own"):
        lockable_mhz(Device("cpu", device, "slice", 1))
    assert log() == []
