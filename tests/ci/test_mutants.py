"""The table of `tox -e mutants`: what it names is there, and each survivor says why."""

import ast
import tomllib

import pytest

from tests.conftest import REPOSITORY

TABLE = tomllib.loads((REPOSITORY / "ci" / "mutants.toml").read_text(encoding="utf-8"))


def modules() -> list[str]:
    """What the verdict and a sample's time rest on."""
    package = REPOSITORY / "append_prefill"
    analysis = package / "analysis"
    rooms = (analysis, analysis / "cliffs", analysis / "verdict")
    found = [p for room in rooms for p in room.glob("*.py") if p.name != "__init__.py"]
    found += [
        package / "run" / f"{name}.py" for name in ("against", "comparing", "judge", "traffic")
    ]
    found += [
        package / "probe" / f"{name}.py"
        for name in ("client", "sample", "stream", "transport", "turns", "warmup")
    ]
    return [str(path.relative_to(REPOSITORY)) for path in found]


def test_every_module_of_the_rules_has_tests_that_answer_for_it():
    assert sorted(TABLE) == sorted(modules())
    for module in TABLE.values():
        assert module["tests"]
        assert all((REPOSITORY / test).is_file() for test in module["tests"])


def bare(text: str) -> str:
    """Without what a formatter may change."""
    return "".join(text.split())


@pytest.mark.parametrize("file", sorted(TABLE))
def test_a_survivor_is_of_a_function_there_is_and_has_a_reason(file):
    text = (REPOSITORY / file).read_text(encoding="utf-8")
    source, tree = bare(text), ast.parse(text)
    functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    for survivor in TABLE[file].get("survivors", []):
        assert survivor["function"].rpartition(".")[2] in functions
        assert bare(survivor["was"]) in source
        assert survivor["was"] != survivor["becomes"]
        assert len(survivor["reason"]) >= 20, survivor
