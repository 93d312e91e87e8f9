"""The command line and environment of `sglang.launch_server`, by device."""

from __future__ import annotations

import getpass
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from append_prefill.engines.base import Device

# What makes SGLang run at all without a GPU or AMX. First in the line, so that a profile or
# --server-arg can say otherwise: the last one counts.
_CPU_ARGS = (
    *("--device", "cpu"),
    *("--attention-backend", "torch_native"),
    *("--sampling-backend", "pytorch"),
    *("--grammar-backend", "none"),
    # An idle scheduler otherwise spins at a full core and starves whatever else runs.
    "--sleep-on-idle",
    # The share that SGLang works out for itself from GPU memory is negative without a GPU.
    *("--mem-fraction-static", "0.3"),
)
# The suite warms up every shape itself; SGLang's one request costs 1-2 s a launch.
_COMMON_ARGS = ("--skip-server-warmup",)
STUBS = Path(__file__).parent / "stubs"


def chosen_args(device: Device, model_args: Sequence[str], server_args: Sequence[str]) -> list[str]:
    """What is chosen for a server and the same at every launch: what a record holds.

    `server_args`: the profile's, then the user's.
    """
    device_args = _CPU_ARGS if device.kind == "cpu" else ()
    return [*_COMMON_ARGS, *device_args, *model_args, *server_args]


def launch_argv(
    python: Path, *, model: Path, port: int, distributed_port: int, chosen: Sequence[str]
) -> list[str]:
    """The command line of one server: the chosen arguments, and what differs by machine.

    `distributed_port` is what torch.distributed listens on. Left to itself SGLang takes one that is
    free when it parses its arguments, some from the ephemeral range, and binds it much later.
    """
    return [
        *(str(python), "-m", "sglang.launch_server"),
        *("--model-path", str(model)),
        *("--host", "127.0.0.1", "--port", str(port), "--nccl-port", str(distributed_port)),
        *chosen,
    ]


def launch_env(
    *,
    device: Device,
    stubs: Sequence[str],
    profile_env: Mapping[str, str],
    inherited: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The environment of one server: the caller's own, plus what the device needs.

    Compilation caches stay where they are between launches. `profile_env` wins over all of it but
    the stubs.
    """
    env = dict(os.environ if inherited is None else inherited)
    # pytest's and coverage's hooks into child processes have no business in the server.
    for name in [n for n in env if n.startswith(("PYTEST_", "COV_CORE_", "COVERAGE_"))]:
        del env[name]
    env["HF_HUB_OFFLINE"] = "1"
    # A folder called torch or sglang in the working directory must not be imported.
    env["PYTHONSAFEPATH"] = "1"
    env["PYTHONUNBUFFERED"] = "1"
    # Its default is under TMPDIR, which is each server's own: without this every launch would
    # compile again.
    env.setdefault(
        "TORCHINDUCTOR_CACHE_DIR",
        str(Path(tempfile.gettempdir()) / f"torchinductor_{getpass.getuser()}"),
    )
    if device.kind == "cpu":
        env["SGLANG_USE_CPU_ENGINE"] = "1"
        env["CUDA_VISIBLE_DEVICES"] = ""
    else:
        env["CUDA_VISIBLE_DEVICES"] = device.id
    env |= profile_env
    if stubs:
        # Last, so that a real package wins, and after whatever the profile has put there.
        trees = [str(STUBS / name) for name in stubs]
        env["PYTHONPATH"] = os.pathsep.join([*filter(None, [env.get("PYTHONPATH")]), *trees])
    return env
