"""Commits of real checkouts, by real git."""

import json
import os
import subprocess

import pytest

from append_prefill.engines.checkout import Origin, commit_of, origin_in


def git(folder, *arguments):
    who = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "sglang" / "python"
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "sglang" / "README.md").write_text("one\n")
    git(tmp_path / "sglang", "init", "--quiet")
    git(tmp_path / "sglang", "add", ".")
    git(tmp_path / "sglang", "commit", "--quiet", "--message", "one")
    return folder


def test_a_clean_checkout_is_its_commit(checkout):
    head = git(checkout, "rev-parse", "HEAD")
    assert commit_of(checkout) == head
    (checkout / "built.so").write_text("untracked")
    (checkout.parent / "README.md").write_text("not of the package\n")
    assert commit_of(checkout) == head


def test_two_states_of_one_commit_are_told_apart(checkout):
    head = git(checkout, "rev-parse", "HEAD")
    states = set()
    for text in ("a", "b"):
        (checkout / "pyproject.toml").write_text(text)
        commit = commit_of(checkout)
        assert commit.startswith(f"{head}-dirty.")
        assert commit == commit_of(checkout)
        states.add(commit)
    assert len(states) == 2
    git(checkout, "checkout", "--", ".")
    assert commit_of(checkout) == head


def test_git_of_another_repository_is_not_asked(checkout, monkeypatch, tmp_path):
    """As within a hook, or in a folder that is not tracked by the repository around it."""
    head = commit_of(checkout)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    assert commit_of(checkout) == head
    stray = checkout.parent / "stray"
    stray.mkdir()
    (stray / "pyproject.toml").write_text("")
    assert commit_of(stray) is None


def test_a_checkout_is_read_and_not_written(checkout):
    """Touched, and not changed, in another second: git would note that in its index."""
    index = checkout.parent / ".git" / "index"
    os.utime(checkout / "pyproject.toml", (1.0e9, 1.0e9))
    before, written = index.read_bytes(), index.stat().st_mtime_ns
    head = git(checkout, "rev-parse", "HEAD")
    assert commit_of(checkout) == head
    assert (index.read_bytes(), index.stat().st_mtime_ns) == (before, written)
    assert [path.name for path in index.parent.glob("index*")] == ["index"]


def test_a_change_within_the_second_of_the_index_is_seen(checkout):
    """Of as many bytes: git tells it by the index's own time, which its copy has too."""
    file = checkout / "pyproject.toml"
    (checkout.parent / ".git" / "index").touch()
    git(checkout, "update-index", "--refresh")
    file.write_text("[project]\n"[::-1])
    assert "-dirty." in str(commit_of(checkout))


def test_a_worktree_has_an_index_of_its_own(checkout):
    tree = checkout.parent.parent / "tree"
    git(checkout, "worktree", "add", "--quiet", str(tree))
    head = git(checkout, "rev-parse", "HEAD")
    assert commit_of(tree / "python") == head
    (tree / "python" / "pyproject.toml").write_text("other")
    assert str(commit_of(tree / "python")).startswith(f"{head}-dirty.")
    assert commit_of(checkout) == head


@pytest.mark.parametrize("folder", ["nowhere", "nul\0", ""])
def test_no_checkout_no_commit(tmp_path, folder, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit_of(tmp_path / folder) is None


def test_without_git_nothing_is_known(checkout, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert commit_of(checkout) is None


SHA = "0123456789abcdef" * 2 + "01234567"


@pytest.mark.parametrize(
    ("told", "commit", "checkout"),
    [
        (
            {"url": "file:///srv/a%20b/python", "dir_info": {"editable": True}},
            None,
            "/srv/a b/python",
        ),
        ({"url": "file:///srv/python", "dir_info": {}}, None, None),
        ({"url": "file://host/python", "dir_info": {"editable": True}}, None, None),
        (
            {
                "url": "https://u:pw@github.com/x/y.git",
                "vcs_info": {"vcs": "git", "commit_id": SHA},
            },
            SHA,
            None,
        ),
        (
            {"url": "https://x/y", "vcs_info": {"vcs": "git", "commit_id": "\x1b[31mmain"}},
            None,
            None,
        ),
        ({"url": "https://x/y", "vcs_info": {"vcs": "hg", "commit_id": SHA}}, None, None),
        ({"url": "https://x/y.whl", "archive_info": {}}, None, None),
        ({"url": 3, "vcs_info": 4, "dir_info": []}, None, None),
        ([], None, None),
    ],
)
def test_direct_url(told, commit, checkout):
    origin = origin_in(json.dumps(told))
    assert origin.commit == commit
    assert (origin.checkout and str(origin.checkout)) == checkout


@pytest.mark.parametrize("text", [None, "", "{", "null"])
def test_a_wheel_of_an_index_has_no_commit(text):
    assert origin_in(text) == Origin()
    assert origin_in(text).commit_now() is None


def test_an_editable_installs_commit_is_what_it_is_now(checkout):
    origin = origin_in(json.dumps({"url": checkout.as_uri(), "dir_info": {"editable": True}}))
    before = origin.commit_now()
    git(checkout, "commit", "--quiet", "--allow-empty", "--message", "two")
    assert origin.commit_now() != before
    assert origin.commit_now() == git(checkout, "rev-parse", "HEAD")
