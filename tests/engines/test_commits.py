"""Commits of a checkout, built by a command of the user's."""

from __future__ import annotations

import subprocess

import pytest

from append_prefill.engines.commits import build_commit, commits_between
from append_prefill.errors import InfrastructureError, UsageError

BUILD = 'mkdir -p "$ENVIRONMENT/bin" && cp number "$ENVIRONMENT/bin/python" && echo built'


def git(folder, *arguments):
    who = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
    command = ["git", *who, *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkout")
    git(folder, "init", "-q", "-b", "main")
    for number in range(4):
        (folder / "number").write_text(str(number))
        git(folder, "add", ".")
        git(folder, "commit", "-q", "-m", f"Make it {number}\n\nAt length.")
    return folder


def test_both_ends_and_what_lies_between(checkout):
    found = commits_between(checkout, "HEAD~2", "main")
    assert [one.subject for one in found] == ["Make it 1", "Make it 2", "Make it 3"]
    assert found[-1].sha == git(checkout, "rev-parse", "HEAD").strip()
    assert found[0].name == found[0].sha[:12]


def test_a_commit_is_built_once_in_a_work_tree_of_its_own(checkout, tmp_path):
    commit = commits_between(checkout, "HEAD~2", "HEAD")[0]
    log = tmp_path / "build.log"
    python = build_commit(checkout, commit.sha, BUILD, tmp_path / "one", log)
    assert python == tmp_path / "one" / "environment" / "bin" / "python"
    assert python.read_text() == "1"
    assert build_commit(checkout, commit.sha, "exit 1", tmp_path / "one", log) == python
    assert log.read_text() == "built\n"
    assert (checkout / "number").read_text() == "3"


def test_a_build_that_fails_says_why_and_is_tried_again(checkout, tmp_path):
    sha = commits_between(checkout, "HEAD~1", "HEAD")[0].sha
    log = tmp_path / "build.log"
    with pytest.raises(InfrastructureError, match="status 3: no compiler"):
        build_commit(checkout, sha, "echo no compiler; exit 3", tmp_path / "one", log)
    with pytest.raises(InfrastructureError, match=r"left no \$ENVIRONMENT/bin/python"):
        build_commit(checkout, sha, "true", tmp_path / "one", log)
    assert build_commit(checkout, sha, BUILD, tmp_path / "one", log).read_text() == "2"


def test_what_cannot_be_bisected_is_refused(checkout, tmp_path):
    for arguments, problem in (
        ((tmp_path, "a", "b"), "is no git checkout"),
        ((checkout, "HEAD", "nothing"), "'nothing' is no commit"),
        ((checkout, "HEAD", "HEAD~1"), "no ancestor"),
        ((checkout, "HEAD", "HEAD"), "no ancestor"),
    ):
        with pytest.raises(UsageError, match=problem):
            commits_between(*arguments)
