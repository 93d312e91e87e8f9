"""ci/Dockerfile: what a linter says of it, and that what it names is there."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
from pathlib import Path

import pytest

from tests.ci import programs
from tests.test_docs import pytest_options

ROOT = Path(__file__).parents[2]
FILE = ROOT / "ci" / "Dockerfile"
TEXT = FILE.read_text(encoding="utf-8")
SCRIPT = (ROOT / "ci" / "nightly.sh").read_text(encoding="utf-8")
# What Ubuntu's base image has, and what the packages bring.
COMMANDS = {"apt-get", "rm", "python3"}


def instructions() -> list[tuple[str, str]]:
    """(instruction, arguments), continued lines joined."""
    code = "\n".join(line for line in TEXT.splitlines() if not line.startswith("#"))
    whole = re.sub(r"\\\n\s*", "", code)
    return [
        (name, rest)
        for name, _, rest in (line.partition(" ") for line in whole.splitlines() if line)
    ]


def arguments_of(name: str) -> list[str]:
    return [rest for instruction, rest in instructions() if instruction == name]


def environment() -> dict[str, str]:
    (variables,) = arguments_of("ENV")
    return dict(word.split("=", 1) for word in shlex.split(variables))


def test_the_linter_has_nothing_to_say():
    done = programs.run("hadolint", FILE)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_linter_would_say_something(tmp_path):
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM debian\nRUN cd /tmp && sudo apt-get install x\n")
    assert programs.run("hadolint", bad).returncode == 1


def test_it_builds_on_nvidias_image():
    assert [name for name, _ in instructions()[:2]] == ["ARG", "FROM"]
    (base,) = arguments_of("FROM")
    (default,) = arguments_of("ARG")
    assert re.fullmatch(r"CUDA=\d+\.\d+\.\d+", default)
    assert base == "nvidia/cuda:${CUDA}-devel-ubuntu24.04"


def test_its_entry_is_the_nightly_of_the_checkout_that_it_copies():
    assert arguments_of("COPY") == [". ."]
    assert arguments_of("WORKDIR") == ["/suite"]
    ((entry,),) = map(json.loads, arguments_of("ENTRYPOINT"))
    script = ROOT / Path(entry).relative_to("/suite")
    assert script.is_file()
    assert os.access(script, os.X_OK)


def test_its_variables_are_the_nightlys():
    for name in environment():
        assert re.search(rf"^#   {name}\b", SCRIPT, re.MULTILINE), name
    for name in re.findall(r"^#.* -e (\w+)=", TEXT, re.MULTILINE):
        assert re.search(rf"^#   {name}\b", SCRIPT, re.MULTILINE), name


def test_the_interpreter_it_names_is_the_one_it_makes():
    python = environment()["NIGHTLY_PYTHON"]
    made = [run for run in arguments_of("RUN") if f"-m venv {Path(python).parents[1]} " in run]
    assert len(made) == 1
    assert f"{python} -m pip install" in made[0]
    assert "--editable ." in made[0]
    assert '"tox>=' in made[0]


def test_every_command_is_there():
    python = environment()["NIGHTLY_PYTHON"]
    for run in arguments_of("RUN"):
        for command in run.split("&&"):
            assert command.split()[0] in COMMANDS | {python}, command


def test_what_has_to_last_is_in_volumes():
    (volumes,) = arguments_of("VOLUME")
    assert json.loads(volumes) == ["/suite/.tox", environment()["NIGHTLY_REPORT_DIR"]]


def test_what_its_comment_shows_exists():
    comment = "\n".join(line for line in TEXT.splitlines() if line.startswith("#"))
    for path in re.findall(r"(?<![\w/])(ci/\w[\w.]*\w)", comment):
        assert (ROOT / path).exists(), path
    given = comment.partition(" append-prefill --")[2].split()[0]
    assert f"--{given}" in pytest_options()


@pytest.mark.parametrize(
    "path",
    [
        "append_prefill/plugin/__init__.py",
        "append_prefill/profiles/llama-3.1-8b.toml",
        "baselines/nvidia-h200/llama-3.1-8b-instruct/0.5.17.json",
        "ci/nightly.sh",
        "conftest.py",
        "LICENSE",
        "perf_tests/test_regression.py",
        "pyproject.toml",
        "README.md",
        "tox.ini",
        "toxfile.py",
    ],
)
def test_the_image_gets_what_it_needs(path):
    assert (ROOT / path).is_file()
    assert not left_out(path)


@pytest.mark.parametrize("path", [".git/HEAD", ".tox/a/b", "reports/a/run.json", "a/__pycache__/b"])
def test_the_image_does_not_get_what_it_does_not_need(path):
    assert left_out(path)


def left_out(path: str) -> bool:
    """Whether `Dockerfile.dockerignore` names the path or a folder above it."""
    patterns = [
        line
        for line in FILE.with_name("Dockerfile.dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    parents = [path, *map(str, Path(path).parents)]
    return any(
        fnmatch.fnmatch(parent, pattern) or fnmatch.fnmatch(parent, pattern.removeprefix("**/"))
        for pattern in patterns
        for parent in parents
    )
