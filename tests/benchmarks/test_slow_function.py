"""What makes a function of a server slow, and how its rank is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from append_prefill.records.cause import write_cause
from benchmarks import slow_function
from benchmarks.slow_function import rank_of, script_around, shortened, told
from tests.run.cause.profiled import LOOP, cause, launch

MODULE = """
from __future__ import annotations
class Scheduler:
    def plain(self): return 1
    async def slow(self):
        "What it is for."
        return 2
def alone(): return 3
"""
ASK = """
import asyncio, package.module as m, time
def took(call):
    began = time.thread_time()
    value = call()
    return value, time.thread_time() - began
s = m.Scheduler()
for call in (s.plain, lambda: asyncio.run(s.slow()), m.alone):
    value, seconds = took(call)
    print(value, seconds > 0.5)
print(m.Scheduler.slow.__code__.co_filename == m.__file__)
"""


def asked(tmp_path: Path, number: int, *, device: str = "cpu", ask: str = ASK) -> list[str]:
    """What a server's interpreter says with that function switched slow, 0 for none."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "module.py").write_text(MODULE)
    switch = tmp_path / "switch"
    switch.write_bytes(bytes([number]))
    interpreter = SimpleNamespace(path=sys.executable)
    settings = SimpleNamespace(
        candidate=SimpleNamespace(interpreter=interpreter), profile=SimpleNamespace(device=device)
    )
    script = script_around(settings, tmp_path, switch, 600.0)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    result = subprocess.run(
        [str(script), "-c", ask], capture_output=True, text=True, check=True, env=environment
    )
    assert "slowed package.module" in result.stderr
    return result.stdout.splitlines()


@pytest.fixture
def places(monkeypatch):
    places = {"a": ("package.module:Scheduler.slow",), "b": ("package.module:alone",)}
    monkeypatch.setattr(slow_function, "PLACES", places)


@pytest.mark.usefixtures("places")
@pytest.mark.parametrize(
    ("number", "slow"), [(0, (False, False)), (1, (True, False)), (2, (False, True))]
)
def test_the_function_itself_is_slow_by_switch_and_no_other(tmp_path, number, slow):
    plain, first, second, unchanged = asked(tmp_path, number)
    assert plain == "1 False"
    assert first == f"2 {slow[0]}"
    assert second == f"3 {slow[1]}"
    assert unchanged == "True"


def test_ranks_are_told_with_what_is_first(tmp_path, monkeypatch, capsys):
    names = {
        "cache": ("no:other", "sglang.cache:match"),
        "scheduler": ("sglang.s:batch",),
        "none": ("no:such",),
    }
    monkeypatch.setattr(slow_function, "PLACES", names)
    for place in names:
        write_cause(cause(), tmp_path / f"{place}-0")
    assert told(sorted(tmp_path.iterdir())) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:4] == ["cache", "0", "1", "2.00"]
    assert lines[-1] == "among the first 3: 1 of 3"


def test_a_slow_kernel_is_ranked_among_kernels_and_the_others_are_counted(tmp_path, capsys):
    made = []
    for pair in range(3):
        alike = {"gemm": 2.0, "norm": 0.5 + 0.001 * pair, "rope": 0.3}
        new = {**alike, "at::cuda::spin_kernel(long)": 2.0}
        made.append((launch("candidate", pair, {LOOP: 1.0}, new),
                     launch("reference", pair, {LOOP: 1.0}, alike)))  # fmt: skip
    write_cause(cause(made=made), tmp_path / "kernel-0")
    assert told([tmp_path / "kernel-0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:4] == ["kernel", "0", "1", "2.00"]
    assert lines[1].endswith("at::cuda::spin_kernel(long)")
    assert lines[-1] == "kernels that nobody slowed, told as changed for certain: 0 of 3"


@pytest.mark.usefixtures("places")
@pytest.mark.parametrize(("number", "kernels"), [(0, []), (2, []), (3, [1_188_000_000])])
def test_on_a_gpu_the_sampler_starts_a_kernel_more_by_switch(
    tmp_path, monkeypatch, number, kernels
):
    """600 ms at 1.98 GHz. torch is one that says what it was asked for."""
    monkeypatch.setattr(slow_function, "_STARTS_IT", "package.module:Scheduler.plain@gpu")
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("from . import cuda\n")
    (tmp_path / "torch" / "cuda.py").write_text("asked = []\n_sleep = asked.append\n")
    lines = asked(
        tmp_path, number, device="cuda", ask=ASK + "import torch; print(torch.cuda.asked)"
    )
    assert lines[-1] == str(kernels)


def test_what_never_ran_itself_has_no_rank():
    assert rank_of(cause().functions, ["sglang.s:loop"]) is None


def test_what_is_kept_holds_the_slow_one_wherever_it_stands(monkeypatch):
    monkeypatch.setattr(slow_function, "KEPT", 1)
    assert [one.name for one in shortened(cause(), ["new:fresh"]).functions] == [
        "sglang.cache:match",
        "new:fresh",
    ]
    assert shortened(cause(), ["new:fresh"]).stacks == []
