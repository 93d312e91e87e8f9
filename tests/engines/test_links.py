"""The KV links of a device, with a torch that copies at known speeds."""

import os
import sys
import textwrap

import pytest

from append_prefill.engines.links import measure_links
from append_prefill.errors import InfrastructureError

# Copies take as long as they would at 50 GB/s between host and device and 2000 GB/s on it, the
# first two of each kind ten times as long.
TORCH = """
uint8 = "uint8"
clock = [0.0]
copies = {}


class cuda:
    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            self.at_ms = clock[0]

        def elapsed_time(self, other):
            return other.at_ms - self.at_ms

    @staticmethod
    def synchronize():
        pass


class Tensor:
    def __init__(self, size, place):
        self.size, self.place = size, place

    def numel(self):
        return self.size

    def copy_(self, source, non_blocking):
        kind = source.place + self.place
        copies[kind] = copies.get(kind, 0) + 1
        speed = 2000 if kind == "cudacuda" else 50
        clock[0] += self.size / (speed * 1e6) * (10 if copies[kind] <= 2 else 1)


def empty(size, dtype, pin_memory=False, device="cpu"):
    assert pin_memory == (device == "cpu")
    return Tensor(size, device)


def empty_like(other):
    return Tensor(other.size, other.place)
"""


def environment(tmp_path, torch):
    (tmp_path / "torch.py").write_text(torch)
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


def test_speeds_are_medians_without_the_first_copies(tmp_path):
    speeds = measure_links(sys.executable, environment(tmp_path, TORCH))
    assert speeds == pytest.approx(
        {"host_to_device": 50, "device_to_host": 50, "on_device": 2000}, rel=1e-3
    )


def test_a_torch_without_a_gpu_says_so(tmp_path):
    broken = textwrap.dedent(
        """
        uint8 = None
        class cuda:
            synchronize = None
        def empty(*_, **__):
            raise RuntimeError("no NVIDIA driver")
        """
    )
    with pytest.raises(InfrastructureError, match="no NVIDIA driver"):
        measure_links(sys.executable, environment(tmp_path, broken))
