"""`ci/mutants.toml` speaks of modules, tests and lines that there are.

What it says of them only the whole run of `tox -e mutants` can tell.
"""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TABLE = tomllib.loads((ROOT / "ci" / "mutants.toml").read_text())


def bare(text: str) -> str:
    """Without what a formatter may change."""
    return re.sub(r"\s+", "", text)


@pytest.mark.parametrize("module", TABLE)
def test_a_module_has_tests_that_answer_for_it_and_the_lines_that_survive(module: str) -> None:
    assert TABLE[module]["tests"]
    assert all((ROOT / test).is_file() for test in TABLE[module]["tests"])
    source = bare((ROOT / module).read_text())
    survivors = TABLE[module].get("survivors", [])
    assert [s["was"] for s in survivors if bare(s["was"]) not in source] == []
    assert all(len(s["reason"].split()) > 2 for s in survivors)
    functions = {s["function"].rpartition(".")[2] for s in survivors}
    assert [name for name in functions if f"def{name}(" not in source] == []


@pytest.mark.parametrize("room", ["analysis", "analysis/verdict"])
def test_every_rule_is_mutated(room: str) -> None:
    modules = {path.name for path in (ROOT / "append_prefill" / room).glob("*.py")}
    named = {Path(m).name for m in TABLE if Path(m).parent == Path("append_prefill", room)}
    assert modules - named == {"__init__.py"}
