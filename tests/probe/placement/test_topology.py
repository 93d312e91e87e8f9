"""Which cores there are, from fake trees: siblings, NUMA nodes, several GPUs, cgroup limits."""

import pytest

from append_prefill.engines.base import Device
from append_prefill.probe.placement import topology
from append_prefill.probe.placement.topology import (
    Topology,
    cpu_list,
    part,
    physical_cores,
    quota_cores,
    topology_of,
)

CPU = Device("cpu", "cpu", "test", 2**30)


def write(root, path, text):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{text}\n")


def siblings(root, groups):
    for group in groups:
        for cpu in group:
            path = f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
            write(root, path, ",".join(map(str, group)))


def gpus(root, monkeypatch, near):
    """GPUs a, b, ... with the cores that each hangs near."""
    addresses = {}
    for index, cores in enumerate(near):
        address = f"0000:{index:02x}:00.0"
        addresses[f"GPU-{'abcdefgh'[index]}"] = address
        if cores is not None:
            write(root, f"sys/bus/pci/devices/{address}/local_cpulist", cores)
    monkeypatch.setattr(topology, "gpu_addresses", lambda: addresses)


def gpu(letter):
    return Device("cuda", f"GPU-{letter}", "test", 2**30)


@pytest.mark.parametrize(
    ("text", "cores"),
    [("0-3,8", {0, 1, 2, 3, 8}), ("5", {5}), ("", set()), ("0,2-2\n", {0, 2})],
)
def test_kernel_lists(text, cores):
    assert cpu_list(text) == cores


def test_hardware_threads_of_a_core_are_one_core(tmp_path):
    siblings(tmp_path, [(0, 4), (1, 5), (2, 6), (3, 7)])
    assert physical_cores(range(8), tmp_path) == ((0, 4), (1, 5), (2, 6), (3, 7))


def test_a_cpuset_that_holds_half_a_core_keeps_that_half(tmp_path):
    siblings(tmp_path, [(0, 2), (1, 3)])
    assert physical_cores([0, 1, 2], tmp_path) == ((0, 2), (1,))


def test_a_kernel_that_tells_no_siblings_has_one_thread_a_core(tmp_path):
    assert physical_cores([3, 1], tmp_path) == ((1,), (3,))


def test_a_gpu_has_the_cores_of_its_own_node(tmp_path, monkeypatch):
    gpus(tmp_path, monkeypatch, ["0-3", "4-7"])
    found = topology_of(gpu("b"), root=tmp_path, allowed=range(8))
    assert found == Topology(((4,), (5,), (6,), (7,)))


def test_gpus_of_one_node_share_its_cores_out(tmp_path, monkeypatch):
    siblings(tmp_path, [(i, i + 16) for i in range(16)])
    gpus(tmp_path, monkeypatch, ["0-7,16-23"] * 2 + ["8-15,24-31"] * 3)
    parts = [topology_of(gpu(g), root=tmp_path, allowed=range(32)).cores for g in "abcde"]
    assert [len(cores) for cores in parts] == [4, 4, 2, 3, 3]
    taken = [cpu for cores in parts for core in cores for cpu in core]
    assert sorted(taken) == list(range(32))


def test_without_nodes_all_gpus_share_all_cores(tmp_path, monkeypatch):
    gpus(tmp_path, monkeypatch, [None, None])
    assert topology_of(gpu("b"), root=tmp_path, allowed=range(4)).cores == ((2,), (3,))


def test_a_cpuset_away_from_the_gpu_counts_more_than_nearness(tmp_path, monkeypatch):
    gpus(tmp_path, monkeypatch, ["0-3", "4-7"])
    assert topology_of(gpu("b"), root=tmp_path, allowed={0, 1, 2, 3}).cores == ((2,), (3,))


def test_the_slices_of_one_gpu_have_its_cores(tmp_path, monkeypatch):
    gpus(tmp_path, monkeypatch, ["0-3"])
    addresses = {"GPU-a": "0000:00:00.0", "MIG-a1": "0000:00:00.0"}
    monkeypatch.setattr(topology, "gpu_addresses", lambda: addresses)
    device = Device("cuda", "MIG-a1", "test", 2**30)
    assert len(topology_of(device, root=tmp_path, allowed=range(8)).cores) == 4


def test_the_processor_itself_has_every_core(tmp_path):
    assert topology_of(CPU, root=tmp_path, allowed={0, 5}).cores == ((0,), (5,))


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_parts_cover_everything_once(count):
    cores = tuple((i,) for i in range(10))
    parts = [part(cores, i, count) for i in range(count)]
    assert sum(parts, ()) == cores
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_the_tightest_quota_of_a_cgroup_and_its_parents_counts(tmp_path):
    write(tmp_path, "proc/self/cgroup", "0::/pod/box")
    write(tmp_path, "sys/fs/cgroup/pod/cpu.max", "250000 100000")
    write(tmp_path, "sys/fs/cgroup/pod/box/cpu.max", "max 100000")
    assert quota_cores(tmp_path) == 2.5


def test_the_older_cgroups_quota_is_read_too(tmp_path):
    write(tmp_path, "proc/self/cgroup", "4:cpu,cpuacct:/box\n3:memory:/box")
    write(tmp_path, "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us", "400000")
    write(tmp_path, "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us", "100000")
    write(tmp_path, "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1")
    write(tmp_path, "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000")
    assert quota_cores(tmp_path) == 4


def test_no_quota_is_none(tmp_path):
    assert quota_cores(tmp_path) is None
    write(tmp_path, "proc/self/cgroup", "0::/")
    write(tmp_path, "sys/fs/cgroup/cpu.max", "max 100000")
    assert quota_cores(tmp_path) is None


def test_a_quota_below_the_cores_is_what_is_usable():
    cores = tuple((i,) for i in range(16))
    assert Topology(cores).usable == 16
    assert Topology(cores, 2.5).usable == 2
    assert Topology(cores, 40.0).usable == 16
