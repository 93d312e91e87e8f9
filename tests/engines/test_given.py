import json
import os
import stat

import pytest

from append_prefill.engines.environments import query_interpreter
from append_prefill.engines.given import recordable
from tests.engines.installed import installed_python

SHA = "0123456789abcdef" * 2 + "01234567"


def test_values_are_kept_of_what_steers_a_server_alone():
    assert recordable(
        {
            "SGLANG_X": "1",
            "OMP_NUM_THREADS": None,
            "HF_TOKEN": "hunter2",
            "SGLANG_API_KEY": "hunter2",
            "MY_NOTES": "hunter2",
            "SGLANG_STORE": "http://u:hunter2@h/",
        }
    ) == {
        "OMP_NUM_THREADS": None,
        "SGLANG_API_KEY": "***",
        "SGLANG_STORE": "http://***@h/",
        "SGLANG_X": "1",
        "HF_TOKEN": "***",
        "MY_NOTES": "***",
    }


def test_what_steers_comes_first_and_neither_names_nor_values_fill_the_record():
    kept = recordable(
        {f"A{n}": "x" for n in range(500)}
        | {"SGLANG_" + "n" * 10**6: "v" * 10**6, "SGL_\udc80": "\udc80"}
    )
    assert len(kept) == 50
    assert list(kept)[:2] == ["SGLANG_" + "n" * 93, "SGL_?"]
    assert len(json.dumps(kept, ensure_ascii=False).encode()) < 2000


@pytest.fixture
def python(tmp_path):
    return installed_python(tmp_path / "venv", "0.5.23")


def wrapped(python, script):
    path = python.parent / "wrapped-python"
    path.write_text(f'#!/bin/sh\n{script}\nexec {python} "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_a_plain_interpreter_is_given_nothing_and_comes_from_an_index(python):
    found = query_interpreter("--sglang", str(python), python)
    assert found.sglang == "0.5.23"
    assert found.environment == {}
    assert (found.origin.commit, found.origin.checkout) == (None, None)


def test_what_a_script_around_an_interpreter_sets_and_takes_away_is_seen(python, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    path = wrapped(python, "export SGLANG_X='1 2'\nexport HF_TOKEN=hunter2\nunset OMP_NUM_THREADS")
    found = query_interpreter("--against", str(path), path)
    assert found.environment == {
        "HF_TOKEN": "hunter2",
        "OMP_NUM_THREADS": None,
        "SGLANG_X": "1 2",
    }
    assert "HF_TOKEN" not in os.environ
    assert "hunter2" not in json.dumps(recordable(found.environment))


@pytest.mark.parametrize(
    ("told", "commit", "editable"),
    [
        (
            {"url": "https://github.com/x/y", "vcs_info": {"vcs": "git", "commit_id": SHA}},
            SHA,
            False,
        ),
        ({"url": "file:///srv/sglang/python", "dir_info": {"editable": True}}, None, True),
    ],
)
def test_where_sglang_was_installed_from_is_read_off_its_metadata(tmp_path, told, commit, editable):
    python = installed_python(tmp_path / "venv", "0.5.23", direct_url=told)
    origin = query_interpreter("--sglang", str(python), python).origin
    assert origin.commit == commit
    assert (origin.checkout is not None) is editable
