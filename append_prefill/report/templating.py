"""The environment that pages are rendered in: the suite's formatters as filters, its words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from append_prefill.report import finding_reasons, panel, reasons
from append_prefill.report import format as fmt
from append_prefill.report.cliffs import edge_words, side_words
from append_prefill.report.names import reference_name
from append_prefill.report.places import where_words
from append_prefill.report.routing import computing_words, limit_words
from append_prefill.report.surface import formula_words
from append_prefill.report.traffic_sentence import mean_words
from append_prefill.report.traffic_tables import cached_words
from append_prefill.report.warnings import warning_words
from append_prefill.report.words import change_note, label_of, word_of

_MISSING = Markup('<span class="missing">–</span>')


def _shown(formatter: fmt.Formatter) -> Callable[..., Markup | str]:
    """The formatter as a filter whose missing numbers are muted."""

    def filtered(*args: Any, **kwargs: Any) -> Markup | str:
        text = formatter(*args, **kwargs)
        return _MISSING if text == fmt.MISSING else text

    return filtered


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("append_prefill.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name, formatter in fmt.FORMATTERS.items():
        environment.filters[name] = _shown(formatter)
    environment.filters["recorded"] = _shown(fmt.scalar)
    environment.filters["plural"] = fmt.plural
    environment.filters["shorten"] = fmt.shorten
    environment.filters["one_line"] = fmt.one_line
    environment.globals.update(
        interval=_shown(fmt.interval),
        change_interval=_shown(fmt.change_interval),
        marker_path=panel.marker_path,
        cached_words=cached_words,
        word_of=word_of,
        label_of=label_of,
        change_note=change_note,
        reference_name=reference_name,
        detectable_words=reasons.detectable_words,
        mean_words=mean_words,
        comparison_reason=reasons.comparison_reason,
        decision_words=reasons.decision_words,
        beside_words=finding_reasons.beside_words,
        finding_reason=finding_reasons.finding_reason,
        method_words=reasons.method_words,
        warning_words=warning_words,
        where_words=where_words,
        computing_words=computing_words,
        formula_words=formula_words,
        limit_words=limit_words,
        edge_words=edge_words,
        side_words=side_words,
    )
    return environment


ENVIRONMENT = _environment()
