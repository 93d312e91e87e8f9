"""The Markdown of GitHub's summary and of a comment, as a parser of GitHub's kind reads it."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from append_prefill.report.delivery import github as module
from append_prefill.report.delivery.github import (
    COMMENT_BYTES,
    MARKER,
    SUMMARY_BYTES,
    to_github_summary,
    to_pr_comment,
)
from append_prefill.report.headline import headline_of
from tests.report import samples
from tests.report.delivery.messages import RUNS, hostile

PARSER = MarkdownIt("commonmark", {"html": True}).enable("table")
# All the HTML that is ever written; a block of it can hold several.
OURS = re.compile(r"\s*(?:</?(?:details|summary|sub|code)>|[^<>]+)*\s*")


@cache
def written(write: Callable[..., str], name: str) -> str:
    """Those of a megabyte take seconds, for every test that reads them."""
    return write(RUNS[name])


@cache
def tokens_of(text: str) -> list[Token]:
    flat: list[Token] = []
    for token in PARSER.parse(text):
        flat += [token, *(token.children or [])]
    return flat


def holds_nothing_of_somebody_elses(text: str) -> None:
    for token in tokens_of(text):
        assert token.type not in ("link_open", "image")
        if token.type.startswith("html"):
            assert OURS.fullmatch(token.content.replace(MARKER, "")), token.content


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize(
    ("write", "limit"), [(to_github_summary, SUMMARY_BYTES), (to_pr_comment, COMMENT_BYTES)]
)
def test_it_parses_and_is_no_longer_than_github_takes(name, write, limit) -> None:
    run = RUNS[name]
    text = written(write, name)
    assert len(text) <= len(text.encode()) <= limit
    holds_nothing_of_somebody_elses(text)
    kinds = [token.type for token in tokens_of(text)]
    assert kinds.count("heading_open") >= 1
    for opening in (kind for kind in set(kinds) if kind.endswith("_open")):
        assert kinds.count(opening) == kinds.count(opening.replace("_open", "_close"))
    assert text.count("<details>") == text.count("</details>")
    assert said_in(text).startswith(said(headline_of(run).sentence)[:40])


def said_in(text: str) -> str:
    """The text of the first paragraph."""
    inline = [token for token in tokens_of(text) if token.type == "inline"][1]
    return said("".join(child.content for child in inline.children or []))


def said(text: str) -> str:
    """Without what hides a mention, and with what no terminal obeys."""
    text = text.replace("\N{ZERO WIDTH SPACE}", "").replace("\x1b", "\N{REPLACEMENT CHARACTER}")
    return " ".join(text.split())


@pytest.mark.parametrize("name", RUNS)
def test_a_comment_has_its_marker_once_and_first(name: str) -> None:
    text = written(to_pr_comment, name)
    assert text.startswith(f"{MARKER}\n## ")
    assert text.count(MARKER) == 1


@pytest.mark.parametrize("name", RUNS)
def test_a_comment_calls_nobody(name: str) -> None:
    """GitHub looks for names and numbers in what Markdown has left as text."""
    for token in tokens_of(written(to_pr_comment, name)):
        if token.type == "text":
            assert not re.search(r"[@#]\w", token.content), token.content


def test_commands_can_be_copied_out_of_a_comment() -> None:
    run = samples.regression()
    run.suite["options"] = "--sglang user@0.5.23"
    code = [t.content for t in tokens_of(to_pr_comment(run)) if t.type == "code_inline"]
    assert any("user@0.5.23" in command for command in code)


def test_what_does_not_fit_is_named() -> None:
    text = to_pr_comment(RUNS["full"])
    assert "Too long to be shown here, see the report: findings." in text
    assert "### Worst" in text
    assert "left out" not in to_pr_comment(samples.regression())


def test_a_verdict_too_long_is_its_sentence_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COMMENT_BYTES", 700)
    run = samples.regression()
    text = to_pr_comment(run)
    plain = text.replace("\u00a0", " ").replace("**", "")
    assert headline_of(run).sentence.replace("\u00a0", " ")[:30] in plain
    assert "see the report: verdict" in text
    assert len(text.encode()) <= 700


def test_what_differs_is_a_table() -> None:
    for text in (to_github_summary(samples.regression()), to_pr_comment(samples.regression())):
        assert "| SGLang | 0.5.22 | 0.5.23 |" in text


def test_the_summary_names_no_path_on_the_runner() -> None:
    assert "Full report" not in to_github_summary(samples.regression())


# Each draw renders two documents, which a busy machine takes its time for.
@settings(deadline=None, max_examples=50)
@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=60))
def test_no_text_can_be_markup(text: str) -> None:
    run = hostile(text)
    for made in (to_pr_comment(run), to_github_summary(run)):
        holds_nothing_of_somebody_elses(made)
