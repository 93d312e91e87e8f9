"""Numbers as text: three significant digits, typographic signs, and "–" for what is missing.

Every function takes None and answers `MISSING`, never "0": a value that was not measured must
not look like one that was.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

MISSING = "–"
_THIN = "\u202f"  # narrow no-break space: groups digits without looking like a decimal sign
_NBSP = "\u00a0"
_MINUS = "\u2212"
_SPACES = _THIN + _NBSP
_BREAKS = re.compile(rf"[^\S{_SPACES}]+")


def number(value: float | None, digits: int = 3) -> str:
    """`value` to `digits` significant digits; digits before the decimal point are never dropped.

    12.345 → "12.3", 0.14312 → "0.143", 1234.5 → "1234"; grouped from five digits on.
    """
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else f"{_MINUS}∞"
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    rounded = round(value, decimals)
    if rounded == 0:
        return "0"
    # 9.995 rounds up to 10.00, which has a digit too many.
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
    return _grouped(f"{rounded:,.{decimals}f}")


def exact(value: float | None) -> str:
    """A value that was set or quoted, not measured: no digits that nobody wrote. 0.2 → "0.2"."""
    return MISSING if value is None else f"{value:.4g}".replace("-", _MINUS)


def count(value: int | None) -> str:
    """A whole number, grouped from five digits on: 1024 → "1024", 131072 → "131 072"."""
    return MISSING if value is None else _grouped(f"{value:,}")


def _grouped(text: str) -> str:
    separator = "" if text.lstrip("-").find(",") == 1 and text.count(",") == 1 else _THIN
    return text.replace(",", separator).replace("-", _MINUS)


def ratio(value: float | None) -> str:
    """Candidate over reference; three decimals, since all the news is behind the point."""
    return MISSING if value is None else f"{value:.3f}"


def size(value: float | None) -> str:
    """A ratio as a change without its sign, for a sentence that says which way: "8.3 %"."""
    return change(value).lstrip(f"+{_MINUS}")


def change(value: float | None) -> str:
    """A ratio as a signed change: 1.083 → "+8.3 %"."""
    if value is None:
        return MISSING
    return f"{_change_digits(value)}{_NBSP}%"


def plain_change(value: float | None) -> str:
    """As `change`, with a plain space: it stands in sentences, terminals too."""
    return change(value).replace(_NBSP, " ")


def _change_digits(value: float) -> str:
    percent = (value - 1) * 100
    decimals = 1 if abs(percent) < 99.95 else 0
    text = f"{percent:+.{decimals}f}"
    if float(text) == 0:
        text = f"{0:.{decimals}f}"
    return text.replace("-", _MINUS)


def change_interval(low: float | None, high: float | None) -> str:
    """Two ratios as an interval of changes: "+6.9 to +9.7 %"."""
    if low is None or high is None:
        return MISSING
    return f"{_change_digits(low)} to {_change_digits(high)}{_NBSP}%"


def _brief_decimals(ratio: float) -> int:
    return 0 if abs(ratio - 1) >= 0.0995 else 1


def _signed(percent: float, decimals: int) -> str:
    text = f"{percent:+.{decimals}f}"
    return (text if float(text) else f"{0:.{decimals}f}").replace("-", _MINUS)


def brief(ratio: float) -> str:
    """A ratio as a change to be repeated: 1.203 → "+20 %", 1.042 → "+4.2 %"."""
    return f"{_signed((ratio - 1) * 100, _brief_decimals(ratio))}{_NBSP}%"


def brief_size(ratio: float) -> str:
    """As `brief`, without its sign, for a sentence that says which way."""
    return brief(ratio).lstrip(f"+{_MINUS}")


def brief_interval(low: float, high: float, ratio: float) -> str:
    """Two ratios as an interval of changes beside `ratio`, whose digits it keeps.

    (1.17, 1.23) → "17 to 23", (0.73, 0.79) → "−27 to −21", (0.989, 1.007) → "−1.1 to +0.7".
    """
    if low > 1:
        return size_interval(low, high, ratio)
    decimals = _interval_decimals(low, high, ratio)
    return " to ".join(_signed((end - 1) * 100, decimals) for end in (low, high))


def size_interval(low: float, high: float, ratio: float) -> str:
    """As `brief_interval`, under words that say which way: (0.73, 0.79) → "21 to 27"."""
    if low <= 1 <= high:
        return brief_interval(low, high, ratio)
    decimals = _interval_decimals(low, high, ratio)
    near, far = sorted(abs(end - 1) * 100 for end in (low, high))
    return f"{near:.{decimals}f} to {far:.{decimals}f}"


def _interval_decimals(low: float, high: float, ratio: float) -> int:
    """Those of `ratio`, but one where an end would be read as 0, or both as the same."""
    ends = {round((end - 1) * 100) for end in (low, high)}
    return 1 if 0 in ends or len(ends) == 1 else _brief_decimals(ratio)


def signed(value: float | None, digits: int = 2) -> str:
    """A difference with its sign: 2.23 → "+2.2", −0.0451 → "−0.045"."""
    if value is None:
        return MISSING
    text = number(value, digits)
    return f"+{text}" if value > 0 and text != "0" else text


def share(value: float | None) -> str:
    """A relative value without a sign: 0.019 → "1.9 %"."""
    return MISSING if value is None else f"{number(value * 100, 2)}{_NBSP}%"


def detectable(value: float | None) -> str:
    """A minimum detectable effect: "1.9 %", and "> 100 %" where it is beyond a doubling."""
    return f"> {share(1.0)}" if value is not None and value > 1 else share(value)


def slowdown(value: float) -> str:
    """A detectable slow-down with its sign: "+1.9 %", "over +100 %"."""
    return f"over +{share(1.0)}" if value > 1 else f"+{share(value)}"


def interval(low: float | None, high: float | None) -> str:
    """`low` to `high` in three significant digits."""
    if low is None or high is None:
        return MISSING
    return f"{number(low)} to {number(high)}"


def seconds(value: float | None) -> str:
    """Seconds as text with the unit, minutes from two minutes on, hours from two hours on."""
    if value is None:
        return MISSING
    if value < 120:
        return f"{number(value)}{_NBSP}s"
    if value < 7200:
        return f"{number(value / 60)}{_NBSP}min"
    return f"{number(value / 3600)}{_NBSP}h"


def moment(value: datetime | None) -> str:
    """Date and time to the minute, with its zone's name where it has one."""
    if value is None:
        return MISSING
    return value.strftime("%Y-%m-%d %H:%M %Z").strip()


def shorten(text: str, limit: int) -> str:
    """`text` with its middle left out, so that it is at most `limit` characters long.

    Paths and versions tell themselves apart at the end, so the end is kept.
    """
    if len(text) <= limit:
        return text
    head = (limit - 1) // 3
    return f"{text[:head]}…{text[len(text) - (limit - 1 - head) :]}"


def one_line(text: str, limit: int) -> str:
    """`text` in one line of at most `limit` characters, its middle left out where it is longer.

    White space that breaks a line becomes a space. What a terminal obeys (ANSI), what turns the
    writing round and halves of characters become "\N{REPLACEMENT CHARACTER}".
    """
    # Of a megabyte no more than what can be shown is looked at, with room for what is dropped.
    if len(text) > 4 * limit:
        text = f"{text[: 2 * limit]} … {text[-2 * limit :]}"
    words = _BREAKS.sub(" ", text).strip()
    kept = "".join(c if c.isprintable() or c in _SPACES else "\ufffd" for c in words)
    return shorten(kept, limit)


def plural(n: int, one: str, many: str | None = None) -> str:
    """A count with its noun: "1 launch", "5 launches", "2 points"."""
    return f"{count(n)} {one if n == 1 else many or one + ('es' if one.endswith('ch') else 's')}"


def listed(items: Sequence[str], limit: int = 3) -> str:
    """A list as prose: "a, b and c"; beyond `limit`, "a, b, c and 4 more"."""
    if len(items) > limit:
        return f"{', '.join(items[:limit])} and {len(items) - limit} more"
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def place(context_tokens: int, append_tokens: int) -> str:
    """A point in words: "L = 512, m = 128", unbroken around the signs."""
    return f"L{_NBSP}={_NBSP}{count(context_tokens)}, m{_NBSP}={_NBSP}{count(append_tokens)}"


def scalar(value: Any) -> str:
    """A leaf of identity, subject or state as text; None and "" are missing."""
    if value is None or value == "":
        return MISSING
    if value in ([], {}):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value == "planted":  # what records have always called it
        return "simulated"
    if isinstance(value, float):
        return f"{value:.6g}".replace("-", _MINUS)
    if isinstance(value, (list, tuple)):
        return " ".join(scalar(item) for item in value)
    return str(value)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys, in the order given; lists stay leaves."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{name}."))
        else:
            flat[name] = value
    return flat


Formatter = Callable[..., str]
FORMATTERS: dict[str, Formatter] = {
    "number": number,
    "exact": exact,
    "count": count,
    "ratio": ratio,
    "change": change,
    "share": share,
    "detectable": detectable,
    "signed": signed,
    "seconds": seconds,
    "moment": moment,
}
