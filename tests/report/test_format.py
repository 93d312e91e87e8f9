from __future__ import annotations

import math

import pytest

from append_prefill.report import format as fmt


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12.345, "12.3"),
        (0.14312, "0.143"),
        (9.996, "10.0"),
        (0.9996, "1.00"),
        (1234.5, "1234"),
        (131072.0, "131\u202f072"),
        (0.0, "0"),
        (-2.5, "\u22122.50"),
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "∞"),
    ],
)
def test_number_has_three_significant_digits(value: float | None, text: str) -> None:
    assert fmt.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.083, "+8.3\u00a0%"), (0.97, "\u22123.0\u00a0%"), (0.99999, "0.0\u00a0%"), (None, "–")],
)
def test_change(value: float | None, text: str) -> None:
    assert fmt.change(value) == text


def test_size_drops_the_sign_only() -> None:
    assert fmt.size(0.97) == "3.0\u00a0%"
    assert fmt.size(1.5) == "50.0\u00a0%"


def test_missing_ends_make_a_missing_interval() -> None:
    assert fmt.interval(1.0, None) == fmt.MISSING
    assert fmt.change_interval(None, 1.0) == fmt.MISSING
    assert fmt.share(None) == fmt.seconds(None) == fmt.count(None) == fmt.MISSING
    assert fmt.ratio(None) == fmt.exact(None) == fmt.moment(None) == fmt.MISSING


def test_seconds_turn_into_minutes() -> None:
    assert fmt.seconds(41.26) == "41.3\u00a0s"
    assert fmt.seconds(600) == "10.0\u00a0min"


def test_shorten_keeps_the_end_and_the_limit() -> None:
    short = fmt.shorten("/a/very/long/path/to/python3.12", 16)
    assert len(short) == 16
    assert short.endswith("python3.12")
    assert fmt.shorten("0.5.23", 16) == "0.5.23"


def test_listed() -> None:
    assert fmt.listed([]) == ""
    assert fmt.listed(["a"]) == "a"
    assert fmt.listed(["a", "b"]) == "a and b"
    assert fmt.listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"


def test_flatten_and_scalar() -> None:
    flat = fmt.flatten({"a": {"b": 1, "c": {}}, "d": [1, 2]})
    assert flat == {"a.b": 1, "a.c": {}, "d": [1, 2]}
    assert [fmt.scalar(v) for v in (None, True, [], 700.0, [1, "x"])] == [
        "–", "yes", "none", "700", "1 x",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("0.5.23", "0.5.23"),
        ("two\nlines\tand  more ", "two lines and more"),
        ("\x1b[31mred\x1b[0m", "\ufffd[31mred\ufffd[0m"),
        ("a\u202eb\ud800", "a\ufffdb\ufffd"),
        ("5\u00a0% of 10\u202f000", "5\u00a0% of 10\u202f000"),
        ("größer", "größer"),
    ],
)
def test_one_line_holds_nothing_that_a_terminal_obeys(text: str, shown: str) -> None:
    assert fmt.one_line(text, 40) == shown


@pytest.mark.parametrize("text", ["x" * 10**6, "a\n" * 10**6, "\x1b" * 10**6, "ab"])
def test_one_line_has_a_limit(text: str) -> None:
    shown = fmt.one_line(text, 20)
    assert len(shown) <= 20
    assert shown.isprintable()
