"""Foreign load, stolen time and CPU quotas, on a fake psutil and a fake /proc."""

from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest

from append_prefill.probe.guard.host import HostGauge

Times = namedtuple("Times", "user nice system idle iowait irq softirq steal guest guest_nice")
Cpu = namedtuple("Cpu", "user system children_user children_system")
ME = 100


class FakePs:
    """psutil over counters that a test moves by hand."""

    def __init__(self, cores: int = 2) -> None:
        self.cores = [[50.0, 0.0, 10.0, 500.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0] for _ in range(cores)]
        self.processes: dict[int, list] = {1: [0, "init", 3.0, 0.0], ME: [1, "pytest", 5.0, 0.0]}

    def cpu_times(self, percpu: bool = False):
        assert percpu
        return [Times(*core) for core in self.cores]

    def cpu_freq(self):
        return SimpleNamespace(current=2600.0)

    def cpu_count(self, logical: bool = True):
        return len(self.cores)

    def process_iter(self, attrs):
        for pid, (parent, name, cpu_s, children_s) in self.processes.items():
            times = None if cpu_s is None else Cpu(cpu_s, 0.0, children_s, 0.0)
            info = {"pid": pid, "ppid": parent, "name": name, "cpu_times": times}
            yield SimpleNamespace(info=info)

    def run(self, busy_s: float, idle_s: float, steal_s: float = 0.0) -> None:
        """Spread over the cores evenly."""
        for core in self.cores:
            core[0] += busy_s / len(self.cores)
            core[3] += idle_s / len(self.cores)
            core[7] += steal_s / len(self.cores)


class Bench:
    """A gauge over fakes; `block` runs a block of `seconds` in which `change` happens."""

    def __init__(self, root: Path, cores: int = 2, affinity: set[int] | None = None) -> None:
        self.ps, self.now, self.root = FakePs(cores), 0.0, root
        allowed = affinity or set(range(cores))
        self.gauge = HostGauge(
            measured=True,
            ps=self.ps,
            root=root,
            clock=lambda: self.now,
            affinity=lambda: allowed,
            pid=ME,
        )

    def block(self, change, seconds: float = 10.0, own: set[int] = frozenset()):
        self.gauge.begin(lambda: set(own))
        change()
        self.now += seconds
        return self.gauge.end(lambda: set(own))


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_own_work_on_every_core_is_no_foreign_load(bench):
    bench.ps.processes[200] = [1, "sglang::scheduler", 40.0, 0.0]

    def change():
        bench.ps.run(busy_s=20.0, idle_s=0.0)
        bench.ps.processes[ME][2] += 9.0
        bench.ps.processes[200][2] += 10.6

    reading = bench.block(change, own={200})
    assert reading.void is None
    assert reading.values["foreign_share"] == pytest.approx(0.02)
    assert reading.values["own_share"] == pytest.approx(0.98)


def test_children_of_own_processes_are_own(bench):
    bench.ps.processes |= {200: [1, "server", 0.0, 0.0], 201: [200, "scheduler", 0.0, 0.0]}

    def change():
        bench.ps.run(busy_s=10.0, idle_s=10.0)
        bench.ps.processes[201][2] += 10.0

    assert bench.block(change, own={200}).values["foreign_share"] == 0


def test_a_child_that_ends_in_the_block_is_counted_once(bench):
    bench.ps.processes[150] = [ME, "compiler", 30.0, 0.0]

    def change():
        bench.ps.run(busy_s=10.0, idle_s=10.0)
        del bench.ps.processes[150]
        bench.ps.processes[ME][3] += 34.0  # 30 s before the block, 4 s in it

    assert bench.block(change).values["own_share"] == pytest.approx(0.2)


def test_foreign_load_on_a_busy_machine_voids_and_names_the_culprit(bench):
    bench.ps.processes[300] = [1, "make", 1.0, 0.0]

    def change():
        bench.ps.run(busy_s=15.0, idle_s=5.0)
        bench.ps.processes[ME][2] += 10.0
        bench.ps.processes[300][2] += 4.5

    reading = bench.block(change)
    assert "took 0.50 of 2 cores (25%, limit 10%) while 25% idled" in reading.void
    assert "make (pid 300) 0.45 cores" in reading.void


def test_foreign_load_without_a_visible_process_says_so(bench):
    reading = bench.block(lambda: bench.ps.run(busy_s=18.0, idle_s=2.0))
    assert "none visible from here" in reading.void


def test_foreign_load_beside_idle_cores_is_no_contention(tmp_path):
    """Seven other workers of an eight-GPU node: 25 of 128 cores."""
    bench = Bench(tmp_path, cores=128)
    reading = bench.block(lambda: bench.ps.run(busy_s=250.0, idle_s=1030.0))
    assert reading.void is None
    assert reading.values["foreign_share"] > 0.1


def test_only_the_cores_we_may_use_count(tmp_path):
    bench = Bench(tmp_path, cores=4, affinity={0, 1})

    def change():
        for core in (0, 1):
            bench.ps.cores[core][3] += 10.0
        for core in (2, 3):
            bench.ps.cores[core][0] += 10.0  # somebody else's pod

    reading = bench.block(change)
    assert reading.void is None
    assert (reading.values["cores"], reading.values["foreign_share"]) == (2, 0)


def test_stolen_time_voids(bench):
    def change():
        bench.ps.run(busy_s=10.0, idle_s=9.0, steal_s=1.0)
        bench.ps.processes[ME][2] += 10.0

    reading = bench.block(change)
    assert reading.void.startswith("the hypervisor gave 9.1% of the CPU time asked for to others")


def test_a_little_stolen_time_does_not_void(bench):
    def change():
        bench.ps.run(busy_s=10.0, idle_s=9.8, steal_s=0.2)
        bench.ps.processes[ME][2] += 10.0

    assert bench.block(change).void is None


def test_two_ticks_of_stolen_time_may_be_rounding(bench):
    def change():
        bench.ps.run(busy_s=0.3, idle_s=0.68, steal_s=0.02)
        bench.ps.processes[ME][2] += 0.3

    reading = bench.block(change, seconds=0.5)
    assert reading.void is None
    assert reading.values["steal_share"] > 0.03


def test_a_short_block_is_not_judged_and_has_no_zeros(bench):
    reading = bench.block(lambda: bench.ps.run(busy_s=0.4, idle_s=0.0), seconds=0.2)
    assert reading.void is None
    assert reading.values["foreign_share"] is None
    assert "shorter than 0.3 s" in reading.values["not_judged"]


def test_counters_that_stand_still_are_missing_not_zero(bench):
    reading = bench.block(lambda: None)
    assert reading.void is None
    assert reading.values["steal_share"] is None
    assert "do not move" in reading.values["not_judged"]


def quota(root: Path, place: str, periods: int, throttled: int) -> None:
    folder = root / place
    folder.mkdir(parents=True, exist_ok=True)
    text = f"usage_usec 5\nnr_periods {periods}\nnr_throttled {throttled}\nthrottled_usec 9\n"
    (folder / "cpu.stat").write_text(text)


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("0::/kubepods/pod1", "sys/fs/cgroup/kubepods/pod1"),
        ("0::/kubepods/pod1", "sys/fs/cgroup/kubepods"),  # the ancestor's quota
        ("3:cpu,cpuacct:/docker/1", "sys/fs/cgroup/cpu,cpuacct/docker/1"),
        ("0::/not/visible/here", "sys/fs/cgroup"),  # a private cgroup namespace
    ],
)
def test_a_container_at_its_quota_voids(bench, line, place):
    (bench.root / "proc/self").mkdir(parents=True)
    (bench.root / "proc/self/cgroup").write_text(f"7:memory:/x\n{line}\n")
    quota(bench.root, place, 1000, 40)
    reading = bench.block(lambda: quota(bench.root, place, 1100, 60))
    assert "stopped this container in 20 of 100 periods (20%, limit 5%)" in reading.void


def test_a_rare_throttle_or_no_quota_does_not_void(bench):
    (bench.root / "proc/self").mkdir(parents=True)
    (bench.root / "proc/self/cgroup").write_text("0::/\n")
    assert bench.block(lambda: None).values["quota"] is None
    quota(bench.root, "sys/fs/cgroup", 1000, 40)
    reading = bench.block(lambda: quota(bench.root, "sys/fs/cgroup", 1100, 44))
    assert reading.void is None
    assert reading.values["quota"] == {"periods": 100, "throttled": 4}


def test_identity_holds_what_sets_the_speed(bench):
    cpuinfo = "vendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n"
    (bench.root / "proc").mkdir(exist_ok=True)
    (bench.root / "proc/cpuinfo").write_text(cpuinfo + "\nvendor_id : next core\n")
    governor = bench.root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
    governor.parent.mkdir(parents=True)
    governor.write_text("performance\n")
    assert bench.gauge.identity() == {
        "device_kind": "cpu",
        "device": "AMD EPYC",
        "cpu_family": "AuthenticAMD 25/17",
        "logical_cores": 2,
        "physical_cores": 2,
        "governor": "performance",
    }
    beside_a_gpu = HostGauge(measured=False, ps=bench.ps, root=bench.root)
    assert beside_a_gpu.identity() == {"host_cpu": "AMD EPYC", "host_governor": "performance"}


def test_end_without_begin_is_an_error(bench):
    with pytest.raises(RuntimeError, match="begin"):
        bench.gauge.end(set)
