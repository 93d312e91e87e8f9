"""What a prefill and a decode server added to TTFT, in words for the terminal and the summary."""

from __future__ import annotations

from append_prefill.records.pd_pair import PairBackend
from append_prefill.records.run import Run
from append_prefill.report import format as fmt

_REASON_CHARACTERS = 200


def pair_lines(run: Run) -> list[str]:
    """A sentence for each transfer backend that was tried; [] where no pair was asked for."""
    return [f"A P/D pair over {pair.backend}: {_words(pair)}." for pair in run.pd_pair]


def _words(pair: PairBackend) -> str:
    if not pair.points:
        reason = fmt.one_line(pair.reason or "nothing was measured", _REASON_CHARACTERS)
        return f"not applicable, {reason.rstrip('.')}"
    places = [
        f"{fmt.signed(p.more_ms.value)} ms ({fmt.interval(p.more_ms.low, p.more_ms.high)}) at "
        f"{fmt.place(p.context_tokens, p.append_tokens)}"
        for p in pair.points
    ]
    usable = fmt.plural(sum(launch.failure is None for launch in pair.launches), "launch")
    return f"TTFT {fmt.listed(places, len(places))} over one server alone, {usable}"
