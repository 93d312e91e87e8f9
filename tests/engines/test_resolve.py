import sys
from pathlib import Path

import pytest

from append_prefill.engines import local
from append_prefill.engines import resolve as module
from append_prefill.engines.base import Device
from append_prefill.engines.local import PlantedEngine, SglangEngine
from append_prefill.engines.resolve import resolve_engine, resolve_url
from append_prefill.engines.versions import LONE_HALF
from append_prefill.errors import UsageError


@pytest.fixture(autouse=True)
def _no_ambient_sglang(monkeypatch, tmp_path):
    monkeypatch.delenv(module.VARIABLE, raising=False)
    monkeypatch.delenv("TOX_WORK_DIR", raising=False)
    monkeypatch.delenv("APPEND_PREFILL_ENVIRONMENTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "_has_metadata", lambda _: False)


@pytest.fixture
def resolve(profile, tmp_path):
    def call(value, option="--sglang", **more):
        arguments = {"server_args": {}, "model": None, "dummy_weights": None} | more
        return resolve_engine(option, value, profile=profile, root=tmp_path, **arguments)

    return call


@pytest.fixture
def environment(make_interpreter, tmp_path):
    def make(version, holds=None, **more):
        python = tmp_path / ".tox" / f"sglang-{version}" / "bin" / "python"
        return make_interpreter(python, sglang=holds or version, **more)

    return make


def test_a_version_is_its_tox_environment(resolve, environment):
    python = environment("0.5.5.post3", torch="2.13.0")
    engine = resolve("0.5.5.post3")
    assert isinstance(engine, SglangEngine)
    assert engine.interpreter.path == python
    assert engine.interpreter.versions["torch"] == "2.13.0"
    assert (engine.label, engine.version, engine.replicable) == ("0.5.5.post3",) * 2 + (True,)
    engine.check()


def test_a_version_that_is_not_there_lists_what_is_and_the_command(resolve, environment):
    environment("0.5.23")
    environment("0.5.9")
    with pytest.raises(UsageError) as caught:
        resolve("0.5.22", option="--against")
    text = str(caught.value)
    assert text.startswith("--against 0.5.22: ")
    assert "`append-prefill env 0.5.22`" in text
    assert "0.5.9, 0.5.23" in text


def test_in_a_checkout_the_command_is_toxs(resolve, environment, tmp_path):
    (tmp_path / "perf_tests").mkdir()
    (tmp_path / "perf_tests" / "test_regression.py").touch()
    with pytest.raises(UsageError, match=r"`tox -e sglang-0\.5\.22`"):
        resolve("0.5.22")
    with pytest.raises(UsageError, match=r"`tox -e sglang-VERSION`, as in `tox -e sglang-0"):
        resolve(None)


def test_environments_made_without_tox_count_too(resolve, environment, make_interpreter, tmp_path):
    environment("0.5.9")
    kept = tmp_path / "cache" / "append-prefill"
    make_interpreter(kept / "sglang-0.5.9" / "bin" / "python", sglang="0.5.8")
    python = make_interpreter(kept / "sglang-0.5.10" / "bin" / "python", sglang="0.5.10")
    assert resolve("0.5.10").interpreter.path == python
    assert resolve(None).version == "0.5.10"
    # tox's comes first: its version is what its name says.
    assert resolve("0.5.9").version == "0.5.9"


def test_an_environment_that_holds_another_version_is_refused(resolve, environment):
    environment("0.5.23", holds="0.5.22")
    with pytest.raises(UsageError, match=r"holds SGLang 0\.5\.22.*delete .*sglang-0\.5\.23"):
        resolve("0.5.23")


def test_neither_version_nor_path(resolve):
    with pytest.raises(UsageError, match="neither a version, nor a path"):
        resolve("latest")


def test_an_interpreter_by_its_path(resolve, make_interpreter, tmp_path):
    python = make_interpreter(tmp_path / "python", sglang="0.5.15")
    assert resolve(str(python)).label == "0.5.15"


def test_interpreters_that_will_not_do(resolve, tmp_path):
    with pytest.raises(UsageError, match="no such interpreter"):
        resolve("/nowhere/bin/python")
    with pytest.raises(UsageError, match=r"is a directory.*bin/python"):
        resolve(str(tmp_path))
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho oh dear >&2; exit 1\n")
    broken.chmod(0o755)
    with pytest.raises(UsageError, match="does not run as a Python interpreter .oh dear"):
        resolve(str(broken))
    for text, said in (("true", "nothing"), ("echo no JSON", "'no JSON'")):
        broken.write_text(f"#!/bin/sh\n{text}\n")
        problem = f"asked for its versions it said {said}"
        with pytest.raises(UsageError, match=problem):
            resolve(str(broken))


def test_an_interpreter_without_sglang(resolve):
    # The suite's own: the query itself runs for real here.
    with pytest.raises(UsageError, match="has no SGLang"):
        resolve(sys.executable)


def test_the_default_is_the_variable_then_the_newest_environment(resolve, environment, monkeypatch):
    for version in ("0.5.9", "0.5.10", "0.5.5.post3"):
        environment(version)
    assert resolve(None).version == "0.5.10"
    monkeypatch.setenv(module.VARIABLE, "0.5.9")
    assert resolve(None).version == "0.5.9"
    monkeypatch.setenv(module.VARIABLE, "0.5.1")
    with pytest.raises(UsageError, match=r"\$APPEND_PREFILL_SGLANG 0\.5\.1: "):
        resolve(None)


@pytest.mark.parametrize(
    ("server_args", "fields"),
    [
        ([], {}),
        (["--disaggregation-mode", "prefill"], LONE_HALF),
        (["--disaggregation-mode=decode"], LONE_HALF),
    ],
)
def test_half_of_a_pair_is_asked_as_such(resolve, environment, monkeypatch, server_args, fields):
    environment("0.5.15")
    told = {}
    monkeypatch.setattr(local, "launch_server", lambda argv, env, **more: told.update(more))
    cpu = Device("cpu", "cpu", "test", 2**30)
    resolve("0.5.15", server_args={"--server-arg": server_args}).start(cpu, Path("log"))
    assert told["probe_fields"] == fields


def test_no_sglang_anywhere_says_how_to_make_one(resolve):
    with pytest.raises(UsageError, match="append-prefill env VERSION"):
        resolve(None)


@pytest.mark.parametrize("name", ["simulated", "planted"])
def test_a_simulated_servers_options_are_handed_on(resolve, name):
    engine = resolve(f"{name}:floor-ms=20,slow=1.1")
    assert isinstance(engine, PlantedEngine)
    assert engine.options == {"floor-ms": "20", "slow": "1.1"}
    engine.check()
    assert resolve(name).options == {}
    with pytest.raises(UsageError, match="'floor' is not key=value"):
        resolve(f"{name}:floor")
    with pytest.raises(UsageError, match="simulated:key=value"):
        resolve(name, server_args={"--server-arg": ["--page-size", "16"]}).check()


def test_arguments_the_suite_sets_itself_are_refused(resolve, environment):
    environment("0.5.23")
    with pytest.raises(UsageError, match="--port"):
        resolve("0.5.23", server_args={"--server-arg": ["--port=80"]}).check()


def test_a_python_too_old_for_its_sglang_is_refused(resolve, environment):
    environment("0.5.23", python="3.10.2")
    with pytest.raises(UsageError, match=r"needs.*3\.11"):
        resolve("0.5.23").check()


def test_a_version_newer_than_the_table_warns(resolve, environment):
    environment("0.9.0")
    assert "newer" in resolve("0.9.0").warnings[0]


def test_a_url_that_is_none():
    with pytest.raises(UsageError, match="--sglang-url localhost:3000"):
        resolve_url("localhost:3000", None)


def test_a_simulated_version_must_be_one(resolve):
    resolve("simulated:sglang-version=0.5.9").check()
    with pytest.raises(UsageError, match="is not a version of SGLang") as caught:
        resolve("simulated:sglang-version=\x1b[31mnew").check()
    assert str(caught.value).isprintable()
