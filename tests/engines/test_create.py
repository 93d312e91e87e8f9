import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from append_prefill.engines import create as module
from append_prefill.engines.create import create_environment
from append_prefill.engines.environments import version_environments
from append_prefill.errors import InfrastructureError, UsageError


@pytest.fixture
def commands(monkeypatch, tmp_path):
    """What was run, with what it could import; `venv` leaves an interpreter that does nothing."""
    monkeypatch.setenv("APPEND_PREFILL_ENVIRONMENTS", str(tmp_path / "environments"))
    monkeypatch.delenv("TOX_WORK_DIR", raising=False)
    state = SimpleNamespace(calls=[], importable=[], fails=())

    def run(command, *, env=None, **_):
        state.calls.append(command)
        if env is not None:
            state.importable = [one.name for one in Path(env["PYTHONPATH"]).iterdir()]
        if command[1:3] == ["-m", "venv"]:
            python = Path(command[3], "bin", "python")
            python.parent.mkdir(parents=True)
            python.touch()
        return SimpleNamespace(returncode=int(any(part in command for part in state.fails)))

    monkeypatch.setattr(module.subprocess, "run", run)
    return state


def python_is(monkeypatch, version, path=()):
    monkeypatch.setattr(module.platform, "python_version", lambda: version)
    monkeypatch.setattr(
        module.shutil, "which", lambda name: f"/usr/bin/{name}" if name in path else None
    )


def test_made_installed_and_found_by_its_version(commands, tmp_path, monkeypatch):
    python_is(monkeypatch, "3.11.7")
    python = create_environment("0.5.23", None)
    folder = tmp_path / "environments" / "sglang-0.5.23"
    assert python == folder / "bin" / "python"
    made, packaging, installed = commands.calls
    assert made == [sys.executable, "-m", "venv", str(folder)]
    assert packaging[0] == installed[0] == str(python)
    assert installed[1:] == ["-m", "append_prefill.engines.install", "0.5.23"]
    # The suite alone, not what is installed beside it.
    assert commands.importable == ["append_prefill"]
    assert version_environments(tmp_path) == {"0.5.23": python}


def test_a_second_time_goes_on_where_the_first_ended(commands, monkeypatch):
    python_is(monkeypatch, "3.11.7")
    commands.fails = ("append_prefill.engines.install",)
    with pytest.raises(InfrastructureError, match=r"0\.5\.23 could not be installed"):
        create_environment("0.5.23", None)
    commands.fails = ()
    commands.calls.clear()
    create_environment("0.5.23", None)
    assert [command[2] for command in commands.calls] == ["pip", "append_prefill.engines.install"]


def test_a_python_that_fits_is_taken_from_the_path(commands, monkeypatch):
    python_is(monkeypatch, "3.13.5", path=("python3.12", "python3.13"))
    create_environment("0.5.5.post3", None)
    assert commands.calls[0][0] == "/usr/bin/python3.12"


def test_without_one_it_says_so_before_anything_is_made(commands, monkeypatch, tmp_path):
    python_is(monkeypatch, "3.13.5", path=("python3.13",))
    with pytest.raises(UsageError, match=r"0\.5\.5\.post3 supports Python .*this is Python 3\.13"):
        create_environment("0.5.5.post3", None)
    assert commands.calls == []
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_version(commands):
    with pytest.raises(UsageError, match="latest: is not a version"):
        create_environment("latest", None)


def test_a_python_named_is_asked(monkeypatch, tmp_path):
    monkeypatch.setenv("APPEND_PREFILL_ENVIRONMENTS", str(tmp_path / "environments"))
    with pytest.raises(UsageError, match="--python /nowhere: does not run"):
        create_environment("0.5.23", Path("/nowhere"))
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\necho 3.9.1\n")
    old.chmod(0o755)
    with pytest.raises(UsageError, match=r"supports Python .* this is Python 3\.9\.1"):
        create_environment("0.5.23", old)
    assert not (tmp_path / "environments").exists()
