import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from append_prefill.engines.base import Device
from append_prefill.engines.command import STUBS, chosen_args, launch_argv, launch_env

GPU = Device("cuda", "GPU-1234", "test", 1)


def test_the_users_arguments_come_last(cpu):
    chosen = chosen_args(cpu, ["--load-format", "dummy"], ["--attention-backend", "intel_amx"])
    argv = launch_argv(
        Path("/p"), model=Path("/m"), port=4321, distributed_port=4322, chosen=chosen
    )
    assert argv[:3] == ["/p", "-m", "sglang.launch_server"]
    assert argv[argv.index("--host") + 1] == "127.0.0.1"
    assert argv[-2:] == ["--attention-backend", "intel_amx"]
    assert argv.index("torch_native") < argv.index("intel_amx")
    # What a record holds is the same at every launch and on every machine.
    assert not {"4321", "4322", "/m", "/p"} & set(chosen)
    assert argv[argv.index("--nccl-port") + 1] == "4322"


def test_a_gpu_gets_sglangs_own_choices():
    assert chosen_args(GPU, [], ["--x"]) == ["--skip-server-warmup", "--x"]


def test_environment_on_a_cpu(cpu):
    env = launch_env(
        device=cpu,
        stubs=("cpu", "cpu_vllm"),
        profile_env={"OMP_NUM_THREADS": "1"},
        inherited={"PYTHONPATH": "/mine", "PYTEST_CURRENT_TEST": "x", "TRITON_CACHE_DIR": "/t"},
    )
    assert env["SGLANG_USE_CPU_ENGINE"] == "1"
    assert env["HF_HUB_OFFLINE"] == "1"
    assert env["OMP_NUM_THREADS"] == "1"
    assert env["PYTHONPATH"] == f"/mine:{STUBS / 'cpu'}:{STUBS / 'cpu_vllm'}"
    assert env["TRITON_CACHE_DIR"] == "/t"
    assert "PYTEST_CURRENT_TEST" not in env


def test_a_profiles_own_path_does_not_hide_the_stubs(cpu):
    env = launch_env(
        device=cpu,
        stubs=("cpu",),
        profile_env={"PYTHONPATH": "/profile"},
        inherited={"PYTHONPATH": "/mine"},
    )
    assert env["PYTHONPATH"] == f"/profile:{STUBS / 'cpu'}"


def test_environment_on_a_gpu():
    env = launch_env(device=GPU, stubs=(), profile_env={}, inherited={})
    assert env["CUDA_VISIBLE_DEVICES"] == "GPU-1234"
    assert "SGLANG_USE_CPU_ENGINE" not in env
    assert "PYTHONPATH" not in env


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("sgl_kernel", "verify_tree_greedy_cpu"),
        ("sgl_kernel.kvcacheio", "transfer_kv_direct"),
        ("vllm._custom_ops", "rotary_embedding"),
    ],
)
def test_a_stub_refuses_to_be_called(module, name):
    code = f"from {module} import {name}; {name}(1, b=2)"
    trees = f"{STUBS / 'cpu'}:{STUBS / 'cpu_vllm'}"
    answer = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": trees},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 1
    assert f"NotImplementedError: {module}.{name} was called" in answer.stderr
    assert "not supported" in answer.stderr


@pytest.mark.parametrize("name", ["sgl_kernel", "vllm", "sglang"])
def test_no_stub_in_the_suites_own_process(name):
    assert importlib.util.find_spec(name) is None
