"""`run`: which pytest it becomes; that it does become one is in tests/packaging."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from append_prefill.cli import run
from append_prefill.cli.main import main
from append_prefill.places import TESTS_PACKAGE
from tests.conftest import REPOSITORY


@pytest.fixture
def becomes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Filled with pytest's arguments, in place of becoming it."""
    given: list[str] = []

    def record(arguments: Sequence[str]) -> None:
        given.extend(arguments)
        raise SystemExit(0)

    monkeypatch.setattr(run, "become_pytest", record)
    return given


def _run(*arguments: str) -> None:
    with pytest.raises(SystemExit):
        main(["run", *arguments])


def test_options_are_handed_on_as_given_and_no_others(
    becomes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    _run(
        *("--sglang", "0.5.23", "--starts", "2", "--budget=1.5", "--dummy-weights"),
        *("--server-arg=--page-size", "--server-arg=16", "--", "-k", "exp3", "-n", "2", "--starts"),
    )
    assert becomes == [
        *("-p", "append_prefill.plugin", "-m", "append_prefill", "--pyargs"),
        *("--sglang=0.5.23", "--server-arg=--page-size", "--server-arg=16", "--dummy-weights"),
        *("--starts=2", "--budget=1.5"),
        *("-k", "exp3", "-n", "2", "--starts"),
        TESTS_PACKAGE,
    ]


def test_outside_a_checkout_the_project_there_does_not_configure_it(
    becomes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "perf_tests").mkdir()  # anybody may have a folder of that name
    monkeypatch.chdir(tmp_path)
    _run()
    option, configuration, rootdir, *_ = becomes
    assert (option, rootdir) == ("-c", f"--rootdir={tmp_path}")
    assert "timeout" in Path(configuration).read_text()
    assert becomes[-1] == TESTS_PACKAGE


def test_an_option_of_pytests_before_the_dashes_is_a_usage_error(
    becomes: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["run", "-k", "exp3"])
    assert caught.value.code == pytest.ExitCode.USAGE_ERROR
    assert "-k exp3; pytest's own options go behind --" in capsys.readouterr().err
    assert becomes == []
