"""`doctor`: each line says what was found, and what to do where that is not enough."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from append_prefill.cli import doctor
from append_prefill.cli.doctor import Line
from append_prefill.cli.main import main
from append_prefill.engines.base import Device
from append_prefill.errors import InfrastructureError

CPU = Device("cpu", "cpu", "EPYC", 64 * 10**9)
GPU = Device("cuda", "GPU-1", "NVIDIA H200", 150 * 10**9)


def test_environments_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda _: None)
    monkeypatch.delenv("TOX_WORK_DIR", raising=False)
    monkeypatch.setenv("APPEND_PREFILL_ENVIRONMENTS", str(tmp_path / "none"))
    line = doctor.environments_line(tmp_path)
    assert line.status == "missing"
    assert line.remedy is not None
    assert "append-prefill env " in line.remedy
    python = tmp_path / ".tox" / "sglang-0.5.19" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    (tmp_path / ".tox" / "sglang-0.5.23").mkdir()  # never finished
    assert doctor.environments_line(tmp_path) == Line("SGLang", "ok", "0.5.19")


def test_no_gpu_is_said_with_what_can_be_measured() -> None:
    assert "cpu-nano" in doctor.device_line([CPU]).found
    assert doctor.device_line([GPU]) == Line("GPU", "ok", "NVIDIA H200 (150 GB)")


def test_a_gpu_in_use_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "memory_used_bytes", lambda _: 30 * 10**9)
    line = doctor.device_memory_line(GPU)
    assert (line.status, line.found) == ("warning", "120.0 GB free, 30.0 GB in use")
    monkeypatch.setattr(doctor, "memory_used_bytes", lambda _: 10**8)
    assert doctor.device_memory_line(GPU).status == "ok"


def test_a_held_lock_names_its_holder(monkeypatch: pytest.MonkeyPatch) -> None:
    class Held:
        def __init__(self, device: Device) -> None: ...

        def __enter__(self) -> None:
            raise InfrastructureError("GPU-1 is in use by another run: process 7 (pytest).")

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(doctor, "DeviceLock", Held)
    line = doctor.lock_line(GPU)
    assert line.status == "warning"
    assert "process 7" in line.found


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (doctor.cores_line(1), "warning"),
        (doctor.cores_line(2), "ok"),
        (doctor.memory_line(10**9), "warning"),
        (doctor.memory_line(10**11), "ok"),
        (doctor.disk_line(10**9), "warning"),
        (doctor.disk_line(10**12), "ok"),
    ],
)
def test_little_room_is_a_warning_with_a_remedy(line: Line, status: str) -> None:
    assert line.status == status
    assert (line.remedy is None) == (status == "ok")


@pytest.mark.parametrize(("status", "expected"), [("ok", 0), ("warning", 0), ("missing", 7)])
def test_exit_status(
    status: str,
    expected: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda _: [Line("x", status, "y")])  # type: ignore[arg-type]
    assert main(["doctor"]) == expected
    assert "x: y." in capsys.readouterr().out
    assert main(["doctor", "--json"]) == expected
    assert json.loads(capsys.readouterr().out)[0]["status"] == status


def test_every_check_runs_here(tmp_path: Path) -> None:
    whats = [line.what for line in doctor.examine(tmp_path)]
    assert whats[:3] == ["python", "SGLang", "GPU"]
    assert whats[-3:] == ["cores", "main memory", "disk"]
