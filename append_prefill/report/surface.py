"""The fitted surface in words and rows: its formula, its quantities, why it has its steps."""

from __future__ import annotations

from dataclasses import dataclass

from append_prefill.records.figures import Estimate
from append_prefill.records.run import Run, Step, Surface, Term
from append_prefill.report import format as fmt


@dataclass(frozen=True, slots=True)
class SurfaceRow:
    """A quantity of the surface fitted to the candidate."""

    name: str
    unit: str
    estimate: Estimate


def surface_rows(run: Run) -> list[SurfaceRow]:
    """The candidate's fitted quantities, those that were needed; empty without a surface."""
    surface = run.surface
    if surface is None:
        return []
    added = surface.chunk_ms or surface.padded_token_us or surface.attention_ns
    rows = [
        ("Floor T₀", "ms", surface.floor_ms),
        ("Per new token a", "µs", surface.new_token_us),
        ("Per cached token b", "µs", surface.cached_token_us),
        ("Chunk step s, each further chunk", "ms", surface.chunk_ms),
        ("Per token of padding p", "µs", surface.padded_token_us),
        ("Per pair of attention q", "ns", surface.attention_ns),
        (f"Crossover m*{'' if added else ' = T₀ / a'}", "tokens", surface.crossover_tokens),
    ]
    return [SurfaceRow(name, unit, value) for name, unit, value in rows if value is not None]


def formula_words(surface: Surface) -> str:
    """What was fitted: "T₀ + a·m + b·L", with the terms that were added."""
    computed = "a·m + p·padding(m)" if surface.padded_token_us else "a·m"
    words = f"T₀ + {computed}" if surface.form == "sum" else f"max(T₀, {computed})"
    words += " + b·L"
    if surface.chunk_ms:
        words += " + s·(chunks(m) − 1)"
    if surface.attention_ns:
        words += " + q·pairs(m, L)"
    return words


_NAMES: dict[Term, str] = {
    "chunk": "Chunk step",
    "padding": "Graph bucket",
    "attention": "Attention",
    "attention_of_all": "Attention of every chunk for all tokens so far",
}


def steps_words(surface: Surface) -> list[str]:
    """Why the surface has chunk steps and graph buckets, or has not, a sentence each; attention is
    only named where it was needed.

    Empty for records of suites that knew none of them.
    """
    steps = [(term, surface.steps[term]) for term in _NAMES if term in surface.steps]
    return [
        _said(term, step)
        for term, step in steps
        if term in ("chunk", "padding") or step.code == "fitted"
    ]


def _said(term: Term, step: Step) -> str:
    name, tokens = _NAMES[term], fmt.count(step.tokens)
    chunk = term == "chunk"
    gain = f"n ln(S without / S with) = {fmt.number(step.gain)}, chance {fmt.number(step.needed)}"
    match step.code:
        case "fitted":
            at = {"chunk": f", chunks of {tokens} tokens", "padding": f", sizes up to {tokens}"}
            return f"{name}: fitted{at.get(term, '')} ({gain})."
        case "not-needed":
            return f"{name}: not needed ({gain}; its interval has to lie above 0, too)."
        case "bend":
            return f"{name}: none, TTFT does not step up at the edges of chunks of {tokens} tokens."
        case "no-edge" if chunk:
            return f"{name}: not fitted, no two points lie close to both sides of {tokens} tokens."
        case "no-edge":
            return f"{name}: not fitted, no point is padded."
        case "off":
            return f"{name}: none, prefill runs without a graph."
        case "not-told":
            what = "chunk size" if term != "padding" else "captured sizes"
            return f"{name}: not fitted, the server did not tell its {what}."
        case "short":
            return f"{name}: not fitted, no prompt has {tokens} tokens."


def crossover_words(run: Run) -> str:
    """m* with its interval: "m* = 1380 new tokens (1210 to 1570)"; empty where none was seen.

    Rounded as the surface's row is, which quotes it too. Says so where it lies beyond the longest
    append that was measured.
    """
    if run.surface is None or (value := run.surface.crossover_tokens.value) is None:
        return ""
    low, high = run.surface.crossover_tokens.low, run.surface.crossover_tokens.high
    notes = []
    if low is not None and high is not None:
        notes.append(fmt.interval(low, high))
    longest = max((p.append_tokens for p in run.points if p.median_ms is not None), default=0)
    if value > longest:
        notes.append("extrapolated")
    bracket = f" ({'; '.join(notes)})" if notes else ""
    return f"m* = {fmt.number(value)} new tokens{bracket}"


def surface_words(run: Run) -> str:
    """The surface in a paragraph: formula, each quantity with its interval, why it has its steps.

    Empty where none was fitted.
    """
    if (surface := run.surface) is None:
        return ""
    told = [
        f"{row.name}: {fmt.number(row.estimate.value)} {row.unit}{_within(row.estimate)}"
        for row in surface_rows(run)
    ]
    steps = " ".join(steps_words(surface))
    return f"Surface: TTFT ≈ {formula_words(surface)}. {'; '.join(told)}. {steps}".rstrip()


def _within(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    return f" ({fmt.interval(estimate.low, estimate.high)})"
