"""Workers of several hosts: what each measures, what comes back, what is made of it."""

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from append_prefill.engines.ports import free_port
from append_prefill.records.store import read_run, read_starts, write_start
from append_prefill.run import hosts
from tests.records import builders


def test_a_worker_knows_the_controllers_folder_by_its_token(tmp_path):
    shared = tmp_path / "run"
    shared.mkdir()
    token = hosts.mark(shared)
    assert hosts.mark(shared) == token
    assert hosts.place(shared, token) == (shared, True)


def test_a_folder_of_the_same_name_elsewhere_is_not_taken_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "tmp"))
    same_path = tmp_path / "run"
    same_path.mkdir()
    own, is_shared = hosts.place(same_path, "token")
    assert not is_shared
    assert own != same_path
    # A second worker of that host works in the same folder under the same id.
    known = hosts.host_id(own)
    assert hosts.place(same_path, "token") == (own, False)
    assert hosts.host_id(own) == known


def test_hosts_are_counted_by_where_the_gateways_run():
    local, one, other = (SimpleNamespace(ssh=ssh, socket=None) for ssh in (None, "a", "b"))
    assert hosts.count([local, local]) == 1
    assert hosts.count([one, one, other]) == 2
    assert hosts.count([local, one, other]) == 3


def delivery(host_id="id", **changes):
    run = builders.run().model_copy(update=changes)
    return hosts.Delivery(host_id, run)


def test_the_last_word_of_each_host_counts():
    short = delivery(starts=[builders.start(0)])
    whole = delivery(starts=[builders.start(0), builders.start(1)])
    other = delivery("other", starts=[builders.start(0)])
    assert hosts.latest([short, whole, short, other]) == [whole, other]


def test_starts_of_the_same_identity_are_numbered_on(tmp_path):
    for index in range(2):
        write_start(builders.start(index), tmp_path)
    one = delivery(starts=[builders.start(0), builders.start(1)])
    assert hosts.take_over(one, tmp_path, one.run.identity) is None
    assert [(s.index, s.pair) for s in read_starts(tmp_path)] == [(0, 0), (1, 1), (2, 2), (3, 3)]


def test_another_identity_is_kept_beside(tmp_path):
    write_start(builders.start(0), tmp_path)
    one = delivery(starts=[builders.start(0)], verdict="inconclusive")
    own = one.run.identity | {"device": "NVIDIA A100"}
    warning = hosts.take_over(one, tmp_path, own)
    assert (warning.code, warning.fields) == ("host-of-another-identity", ["device"])
    assert len(read_starts(tmp_path)) == 1
    (kept,) = (tmp_path / "hosts").iterdir()
    assert read_run(kept).identity == one.run.identity
    assert (kept / "report.html").exists()


@pytest.fixture
def elsewhere(suite):
    """A Python whose processes do not see the controller's run folder."""
    reports = suite.path / "reports"
    reports.mkdir()
    wrapper = suite.path / "python-elsewhere"
    hidden = f'mount -t tmpfs none "{reports}" && exec "{sys.executable}" "$@"'
    wrapper.write_text(f"#!/bin/sh\nexec unshare --mount sh -c '{hidden}' sh \"$@\"\n")
    wrapper.chmod(0o755)
    tried = shutil.which("unshare") and subprocess.run(
        [wrapper, "-c", "import os; assert not os.listdir('reports')"],
        cwd=suite.path,
        check=False,
        capture_output=True,
    )
    if not tried or tried.returncode:
        pytest.skip("this user may not hide a folder from a process (unshare --mount)")
    return wrapper


@pytest.fixture
def ssh(tmp_path):
    """An execnet gateway over ssh to an sshd of the test's own on the loopback address."""
    sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin")
    if sshd is None or shutil.which("ssh-keygen") is None:
        pytest.skip("needs sshd (Debian's openssh-server)")
    for name in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name]
        subprocess.run(command, check=True)
    port = free_port()
    Path("/run/sshd").mkdir(exist_ok=True)  # it will not start without
    (tmp_path / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {tmp_path}/host\nStrictModes no\nUsePAM no\n"
        f"AuthorizedKeysFile {tmp_path}/user.pub\nPermitRootLogin yes\nPidFile none\n"
    )
    (tmp_path / "config").write_text(
        f"Host other\nHostName 127.0.0.1\nPort {port}\nIdentityFile {tmp_path}/user\n"
        f"UserKnownHostsFile {tmp_path}/known\nStrictHostKeyChecking accept-new\nLogLevel ERROR\n"
    )
    server = subprocess.Popen([sshd, "-D", "-f", tmp_path / "sshd_config"])
    try:
        yield f"ssh=other//ssh_config={tmp_path}/config"
    finally:
        server.terminate()
        server.wait(10)


PLANTED = "--sglang=simulated:floor_ms=3,new_token_us=1,devices=2"


@pytest.mark.parametrize("local", [(), ("--tx", "popen")])
def test_a_host_without_the_folder_sends_its_starts_back(suite, elsewhere, local):
    result = suite.run(
        PLANTED,
        "--baseline=none",
        "--starts=2",
        "--dist=load",
        *("--tx", f"popen//python={elsewhere}"),
        *local,
        files=("test_exp3_append.py", "test_regression.py"),
    )
    assert result.ret == 0
    record = suite.record()
    starts = [start["index"] for start in record["starts"]]
    assert starts == list(range(4 if local else 2))
    assert all(start["failure"] is None for start in record["starts"])
    assert record["verdict"] is not None
    assert (suite.latest() / "report.html").exists()
    assert not (suite.latest() / "hosts").exists()


@pytest.mark.parametrize("sees_the_folder", [True, False])
def test_workers_over_ssh(suite, ssh, elsewhere, sees_the_folder):
    (suite.path / "pyproject.toml").write_text(
        '[tool.pytest.ini_options]\ntestpaths = ["perf_tests"]\n'
    )
    python = sys.executable if sees_the_folder else elsewhere
    result = suite.run(
        PLANTED,
        "-mappend_prefill",
        "--baseline=none",
        "--starts=2",
        "--dist=load",
        *("--tx", "popen", "--tx", f"{ssh}//chdir={suite.path}//python={python}"),
        "-kexp3",
        files=None,
    )
    assert result.ret == 0
    starts = [start["index"] for start in suite.record()["starts"]]
    assert starts == list(range(2 if sees_the_folder else 4))


def test_a_path_that_xdist_would_send_to_another_host_is_refused(suite):
    result = suite.run("--tx", "ssh=nowhere", "--dist=load", files=("test_exp3_append.py",))
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*--tx ssh=nowhere: xdist would send*test_exp3_append.py*"])
