"""The code speaks the field's words, as the documentation does (docs/glossary.md).

That is: comments, docstrings, messages, help, profiles, templates. Keys of a record and names of
options are code: they stand in backticks, or are strings without a space in them.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("append_prefill", "perf_tests", "benchmarks", "ci", "examples")
PROSE = ("*.py", "*.toml", "*.j2", "*.sh", "*.yaml", "*.ini")
FILES = sorted(
    path.relative_to(ROOT)
    for room in ROOMS
    for pattern in PROSE
    for path in (ROOT / room).rglob(pattern)
)

COUNTED = (
    r"(?:an?|each|every|per|one|two|both|this|of|over|between|within|first|last|usable|adding|more"
    r"|\d+)"
)
# What is not said: what is said instead.
HOUSE_WORDS = {
    r"(?<!any )(?<!first )(?<!before a )server starts?(?! (?:no|its)\b)(?!,)": "server launch",
    rf"{COUNTED} starts?|start[- ]to[- ]start": "launch",
    r"starts? (?:per|a) side|(?:starts|launches|pairs) a side": "launches per side",
    r"nights?": "session, or run",
    r"(?:this|first|last|next|later|further|each|one|an?|the) looks?": "interim analysis",
    r"figures?": "statistic, number, value",
    r"void(?:s|ed|ing)?": "invalid",
    r"planted": "simulated",
    r"stand-ins?": "stub",
    r"shares? of (?:an?|the|another|an offline) kit": "chunk",
    r"rehears\w*": "compile run",
    r"mend\w*": "repair",
    r"torso\w*": "unfinished run",
    r"heirs?": "successor",
    r"cry wolf": "raise a false alarm",
    r"woken": "started",
}
FORBIDDEN = re.compile(rf"\b(?:{'|'.join(HOUSE_WORDS)})\b", re.IGNORECASE)

# What may stand, and why.
ALLOWED = {
    r"append_prefill[./]planted": "the package's name",
    r"benchmarks\.figures": "a module's name",
    r"\bnights_cpu\.json|benchmarks\.nights": "a module and its data",
    r"--nights|--starts|--shares": "options",
    r"every night|last night's|from night to night|a night or an afternoon": "real nights",
    r"</?figure|figcaption|\bfigure \{": "HTML's element",
    r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}": "Jinja",
    r"`[^`]*`|>>> [^\n]*": "code",
}
_ALLOWED = re.compile("|".join(ALLOWED), re.DOTALL | re.IGNORECASE)
# Keys of TOML, before their value.
_KEY = re.compile(r"^\s*(?:\[[^\]]*\]|[\w.-]+ =)", re.MULTILINE)


def prose_of(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of everything in `path` that a person reads as language."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.suffix == ".py":
        yield from python_prose(text)
    elif path.suffix == ".toml":
        yield 1, _KEY.sub("", text)
    elif path.suffix in (".sh", ".yaml", ".ini"):
        yield from enumerate(re.findall(r"(?m)^(?:.*?(#.*))?$", text), 1)
    else:
        yield 1, text


def python_prose(text: str) -> Iterator[tuple[int, str]]:
    """Comments and strings with a space in them; of an f-string what is between its values."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(text)):
        value = node.value if isinstance(node, ast.Constant) else None
        if isinstance(value, str) and re.search(r"\s", value):
            yield node.lineno, value


def house_words_in(text: str) -> list[str]:
    return FORBIDDEN.findall(_ALLOWED.sub("", text))


@pytest.mark.parametrize("path", FILES, ids=str)
def test_prose_uses_the_fields_words(path: Path) -> None:
    found = {line: words for line, text in prose_of(path) if (words := house_words_in(text))}
    assert not found, f"{path}: see docs/glossary.md"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('"""Five starts a side."""', ["starts a side"]),
        ("# what a start costs", ["a start"]),
        ('say(f"{n} samples are void: {void}")', ["void"]),
        ('run["void"]', []),
        ('"""`void` is the key."""', []),
        ('x = "before the server starts, and starts no server"', []),
        ("from append_prefill.planted import server", []),
        ('help = "a simulated server (append_prefill.planted)"', []),
        ('help = "a planted server"', ["planted"]),
    ],
)
def test_what_counts_as_prose(source: str, found: list[str]) -> None:
    words = [word for _, text in python_prose(source) for word in house_words_in(text)]
    assert words == found


def test_every_allowance_is_needed() -> None:
    """One that nothing needs any more would only hide the next mistake."""
    whole = [text for path in FILES for _, text in prose_of(path)]
    for pattern, reason in ALLOWED.items():
        hits = [hit for text in whole for hit in re.findall(pattern, text, re.DOTALL)]
        assert any(FORBIDDEN.search(hit) for hit in hits), f"{pattern} ({reason})"
