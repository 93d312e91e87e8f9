import subprocess
import sys
from types import SimpleNamespace

import pytest

from append_prefill.engines import install as module
from append_prefill.engines.install import InstallError, install, requested_version


@pytest.fixture
def pip(monkeypatch, tmp_path):
    """Records what pip was asked for; `installed` is what the environment then holds."""
    state = SimpleNamespace(calls=[], status={}, installed={})

    def run(command, **_):
        assert command[:3] == [sys.executable, "-m", "pip"]
        arguments = command[command.index("--disable-pip-version-check") + 1 :]
        state.calls.append(arguments)
        for argument in arguments:
            name, _, version = argument.partition("==")
            if argument not in state.status:
                state.installed[name] = version
        failed = any(argument in state.status for argument in arguments)
        return SimpleNamespace(returncode=1 if failed else 0)

    monkeypatch.setattr(module.subprocess, "run", run)
    monkeypatch.setattr(module, "installed", state.installed.get)
    monkeypatch.setattr(module.sys, "prefix", str(tmp_path))
    monkeypatch.setattr(module, "has_nvidia_gpu", lambda: False)
    # One that every version named here supports.
    monkeypatch.setattr(module.platform, "python_version", lambda: "3.12.1")
    monkeypatch.setattr(
        module.importlib.metadata, "requires", lambda _: ["transformers==5.1", "gguf"]
    )
    return state


@pytest.mark.parametrize("name", ["0.5.5.post3", "sglang-0.5.5.post3"])
def test_the_environments_name_will_do(name):
    assert requested_version(name) == "0.5.5.post3"


def test_without_a_gpu_the_recipe_is_used(pip):
    assert "CPU recipe" in install("sglang-0.5.23")
    first, common, last = pip.calls
    assert first == ["--no-deps", "sglang==0.5.23"]
    assert "torch==2.13.0" in common
    assert "transformers==5.1" in common
    assert last[0] == "--no-deps"
    assert "gguf==0.19.0" in last


def test_with_a_gpu_it_is_plain_pip(pip, monkeypatch):
    monkeypatch.setattr(module, "has_nvidia_gpu", lambda: True)
    install("0.5.23")
    assert pip.calls == [["sglang==0.5.23"]]


def test_a_second_time_does_nothing(pip):
    install("0.5.23")
    pip.calls.clear()
    assert "already" in install("0.5.23")
    assert pip.calls == []


@pytest.mark.parametrize(("version", "word"), [("0.9.9", "newer than"), ("0.4.1", "older than")])
def test_a_version_outside_the_tables_is_tried_with_a_warning(pip, capsys, version, word):
    assert "installed" in install(version)
    assert f"warning: SGLang {version} is {word}" in capsys.readouterr().err


def test_an_interrupted_installation_is_done_again(pip):
    pip.installed["sglang"] = "0.5.23"
    install("0.5.23")
    assert pip.calls


def test_another_version_is_put_over(pip):
    install("0.5.9")
    pip.calls.clear()
    install("0.5.23")
    assert ["--no-deps", "sglang==0.5.23"] in pip.calls


def test_an_unknown_version_is_named_with_the_way_to_list_them(pip, capsys):
    pip.status["sglang==9.9.9"] = 1
    assert module.main(["sglang-9.9.9"]) == 2
    said = capsys.readouterr().err
    assert "SGLang 9.9.9" in said
    assert "pip index versions sglang" in said


def test_no_version_at_all(capsys):
    assert module.main(["sglang-latest"]) == 2
    assert "'latest' is not a version" in capsys.readouterr().err


def test_a_python_that_does_not_fit_is_said_before_anything_is_installed(pip, monkeypatch):
    monkeypatch.setattr(module.platform, "python_version", lambda: "3.9.1")
    with pytest.raises(InstallError, match=r"supports Python .* this is Python 3\.9\.1"):
        install("0.5.23")
    assert pip.calls == []


def test_installer_imports_nothing_heavy():
    code = (
        "import sys; import append_prefill.engines.install; "
        "print([m for m in ('pydantic','httpx','numpy','psutil','pytest') if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"
