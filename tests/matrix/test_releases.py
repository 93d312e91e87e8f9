import subprocess

import pytest

from append_prefill.engines.versions import NEWEST, OLDEST
from tests.matrix import releases
from tests.matrix.proof import last_error

LISTED = """sglang (0.6.0)
Available versions: 0.6.0, 0.5.24rc1, 0.5.10, 0.5.9, 0.5.5.post3, 0.5.5.post2, 0.4.1
"""


@pytest.fixture
def index(monkeypatch):
    """Answers `pip index versions` with a text."""

    def answer(text, status=0):
        done = subprocess.CompletedProcess([], status, stdout=text, stderr="ERROR: no route")
        monkeypatch.setattr(releases.subprocess, "run", lambda *_, **__: done)

    return answer


def test_final_releases_from_the_oldest_known_on_in_order(index):
    index(LISTED)
    assert releases.published() == ["0.5.5.post3", "0.5.9", "0.5.10", "0.6.0"]


def test_no_index_is_an_error(index):
    index("", status=1)
    with pytest.raises(RuntimeError, match="no route"):
        releases.published()


def test_a_release_after_the_newest_known_is_marked():
    assert releases.is_newer("0.6.0")
    assert not releases.is_newer(NEWEST)


@pytest.fixture
def file(monkeypatch, tmp_path):
    path = tmp_path / "docs" / "releases.json"
    page = path.with_suffix(".md")
    path.parent.mkdir()
    page.write_text("# Releases\n\nText.\n\n| SGLang | old |\n")
    monkeypatch.setattr(releases, "FILE", path)
    monkeypatch.setattr(releases, "PAGE", page)
    return path


def row(version, problem=None):
    return {
        "version": version,
        "launches": problem is None,
        "split_ok": problem is None,
        "ready_s": None if problem else 20.4,
        "cached_tokens": None if problem else 127,
        "stubs": ["cpu"],
        "seen": None if problem else {"reply_cached_tokens": 9},
        "problem": problem,
    }


def test_rows_are_kept_in_the_order_of_versions_and_replaced(file):
    for version in ("0.5.10", "0.5.9", "0.5.5.post3"):
        releases.keep(row(version))
    releases.keep(row("0.5.9", "died"))
    assert list(releases.known()) == ["0.5.5.post3", "0.5.9", "0.5.10"]
    assert releases.known()["0.5.9"]["problem"] == "died"
    page = releases.PAGE.read_text().splitlines()
    assert page[:4] == ["# Releases", "", "Text.", ""]
    assert page[4:] == releases.table()
    assert page[-2:] == [
        "| 0.5.9 | no | no | not asked | cpu | died |",
        "| 0.5.10 | yes | cached 127 | 9 of 10 | cpu |  |",
    ]


def test_nothing_on_file(file):
    assert releases.known() == {}


def test_a_recipe_changes_with_what_a_release_needs():
    assert releases.recipe(OLDEST) != releases.recipe("0.5.9") != releases.recipe("0.5.13")
    assert releases.recipe("0.5.9") == releases.recipe("0.5.8")


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ("a\nImportError: no x\nbye\n", "ImportError: no x"),
        ("a\nKeyError\n", "KeyError"),
        ("ImportError: no x\nRuntimeError: Rank 0 died during start\n", "ImportError: no x"),
        ("a\nb\n", "b"),
        ("", "(empty log)"),
    ],
)
def test_the_reason_is_the_last_line_that_names_an_exception(log, line):
    assert last_error(log) == line
