"""Mutate the rules one line at a time, and tell which changes no test notices.

    python ci/mutants.py [--at-once N] [FILE …]

`mutants.toml` beside this file says which tests answer for which module and why each known
survivor is one. Fails if a survivor is not listed, if a listed one is caught or gone, or if more
than `SURVIVORS_MAX` of the mutants survive. mutmut makes and runs the mutants, each module in a
folder of its own under `.mutants/`. A second run there tries only what survived and the functions
that have changed; without that folder everything is tried.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import os
import subprocess
import sys
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mutmut.stats import status_by_exit_code

ROOT = Path(__file__).parent.parent
TABLE = Path(__file__).with_suffix(".toml")
WORK = ROOT / ".mutants"
SURVIVORS_MAX = 0.05
"""The share of mutants that may survive: what is equivalent, and texts that only people read."""

NEEDED = ("append_prefill", "baselines", "benchmarks", "conftest.py", "docs", "perf_tests", "tests")
CAUGHT = {"killed", "timeout", "caught by type check"}


@dataclass(frozen=True)
class Survivor:
    """One mutant no test notices: the function, and the lines as they are and as they become."""

    function: str
    was: str
    becomes: str

    def entry(self, file: str) -> str:
        """As `mutants.toml` lists it, but for the reason."""
        shown = {"function": self.function, "was": self.was, "becomes": self.becomes}
        lines = [f"{key} = {json.dumps(text, ensure_ascii=False)}" for key, text in shown.items()]
        return "\n".join([f'[["{file}".survivors]]', *lines])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", metavar="FILE")
    parser.add_argument("--at-once", type=int, default=2, metavar="N")
    chosen = parser.parse_args()
    table = tomllib.loads(TABLE.read_text())
    known = {
        Survivor(s["function"], s["was"], s["becomes"]): file
        for file, module in table.items()
        for s in module.get("survivors", [])
    }
    totals: Counter[str] = Counter()
    problems = 0
    for file in chosen.files or table:
        counts, survivors = run_module(file, table[file]["tests"], chosen.at_once)
        expected = {s for s, of in known.items() if of == file}
        unknown, gone = survivors - expected, expected - survivors
        print(f"{file}: {line_of(counts)}, {len(unknown)} of the survivors not listed", flush=True)
        for survivor in sorted(unknown, key=str):
            print(f"\n# survived, and is not listed\n{survivor.entry(file)}")
        for survivor in sorted(gone, key=str):
            print(f"\n# listed, and no survivor any more\n{survivor.entry(file)}")
        problems += len(unknown) + len(gone)
        totals += counts
    print(f"all: {line_of(totals)}")
    survived = totals.total() - sum(totals[status] for status in CAUGHT)
    return int(problems > 0 or survived > SURVIVORS_MAX * totals.total())


def line_of(counts: Counter[str]) -> str:
    total = counts.total()
    survived = total - sum(counts[status] for status in CAUGHT)
    shown = ", ".join(f"{n} {status}" for status, n in sorted(counts.items()))
    return f"{total} mutants, {survived} survived ({survived / max(total, 1):.1%}); {shown}"


def run_module(file: str, tests: list[str], at_once: int) -> tuple[Counter[str], set[Survivor]]:
    """How many mutants of `file` ended how, and those that no test of `tests` notices."""
    folder = WORK / file.removesuffix(".py").replace("/", ".")
    folder.mkdir(parents=True, exist_ok=True)
    for name in NEEDED:
        link = folder / name
        if not link.is_symlink():
            link.symlink_to(ROOT / name)
    # mutmut has one list of tests for all it mutates, and a mutant of a rule must not be caught
    # only by a simulation of a whole run ten calls away: each module gets its own.
    own = f"[tool.mutmut]\nonly_mutate = {[file]}\npytest_add_cli_args_test_selection = {tests}\n"
    settings = (ROOT / "pyproject.toml").read_text().replace("[tool.mutmut]\n", own)
    (folder / "pyproject.toml").write_text(settings)
    meta = folder / "mutants" / f"{file}.meta"
    if meta.exists():
        known = json.loads(meta.read_text())
        for key, code in known["exit_code_by_key"].items():
            if status_by_exit_code[code] not in CAUGHT:
                known["exit_code_by_key"][key] = None
        meta.write_text(json.dumps(known))
    paths = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(at_once)]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{file}: mutmut failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    ended = json.loads(meta.read_text())["exit_code_by_key"]
    statuses = {key.rpartition(".")[2]: status_by_exit_code[code] for key, code in ended.items()}
    mutated = (folder / "mutants" / file).read_text()
    lines = mutated.splitlines()
    sources = {
        node.name: "\n".join(lines[node.lineno - 1 : node.end_lineno])
        for node in ast.walk(ast.parse(mutated))
        if isinstance(node, ast.FunctionDef)
    }
    survivors = {
        survivor_of(name, sources) for name, status in statuses.items() if status not in CAUGHT
    }
    return Counter(statuses.values()), survivors


def survivor_of(name: str, sources: dict[str, str]) -> Survivor:
    function, _, _ = name.rpartition("__mutmut_")
    before = sources[f"{function}__mutmut_orig"].replace("__mutmut_orig(", "(", 1).splitlines()
    after = sources[name].replace(f"{name}(", f"{function}(", 1).splitlines()
    changed = list(difflib.ndiff(before, after))
    was = " ".join(line[2:].strip() for line in changed if line.startswith("- "))
    becomes = " ".join(line[2:].strip() for line in changed if line.startswith("+ "))
    # mutmut calls a function x_NAME and a method xǁCLASSǁNAME.
    return Survivor(function[2:].replace("ǁ", "."), was, becomes)


if __name__ == "__main__":
    sys.exit(main())
