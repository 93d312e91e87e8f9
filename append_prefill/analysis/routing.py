"""A routing rule with numbers in it: when to prefill elsewhere and ship the KV cache.

The study ends with "minimise transfers" and no number; its arithmetic said a transfer is free. With
the fitted surface T(L, m) = floor + work and the link's true cost a token, the answer is a length.
"""

from __future__ import annotations

from dataclasses import dataclass

from append_prefill.analysis.transfer import transfer_ms
from append_prefill.records.run import Run, Surface

# A fifth of TTFT is the range that the study itself calls flat.
SHARE = 0.2
# The study's own turn length.
APPEND_TOKENS = 128
NOMINAL = "nominal"


@dataclass(frozen=True, slots=True)
class Route:
    """Tokens at which the decision turns on one link; None: never, or (crossover) not seen.

    `link`: `nominal`, or the name of a measured one. `transfer_tokens`: the L from which moving the
    KV of L tokens exceeds `share` of TTFT(L, m). `compute_tokens`: m*, where the work of new tokens
    equals the floor.
    """

    link: str
    link_gb_per_s: float
    share: float
    append_tokens: int
    transfer_us_per_token: float
    transfer_tokens: float | None
    compute_tokens: float | None


def transfer_limit_tokens(
    surface: Surface,
    *,
    append_tokens: int,
    kv_bytes_per_token: int,
    link_gb_per_s: float,
    share: float,
    kv_fixed_bytes: int = 0,
) -> float | None:
    """L at which (fixed + L * bytes) / speed = share * TTFT(L, m); None if it never gets there.

    Solved in closed form, TTFT being linear in L: (share * T(0, m) - fixed) / (transfer - share *
    b) with all costs as times, attention among them; 0 where the fixed bytes alone take that share.
    The turn is taken to be one chunk. Raises
    ValueError if the surface has no values or share is not in (0, 1].
    """
    floor, new, cached = (
        surface.floor_ms.value,
        surface.new_token_us.value,
        surface.cached_token_us.value,
    )
    if floor is None or new is None or cached is None:
        raise ValueError("the surface was not fitted")
    if not 0 < share <= 1:
        raise ValueError("share is a part of TTFT, between 0 and 1")
    work_ms = new / 1e3 * append_tokens
    # A pair of the new tokens' own is a part of what they cost; one with a cached token is that
    # token's. Where every chunk attends for all tokens (no GPU), nobody ships a KV cache.
    pair = surface.attention_ns if "attention" in fitted_terms(surface) else None
    pair_ms = 0.0 if pair is None or pair.value is None else pair.value / 1e6
    own_ms = pair_ms * append_tokens * (append_tokens + 1) / 2
    base_ms = own_ms + (floor + work_ms if surface.form == "sum" else max(floor, work_ms))
    per_token_ms = transfer_ms(kv_bytes_per_token, link_gb_per_s)
    excess_ms = per_token_ms - share * (cached / 1e3 + pair_ms * append_tokens)
    left_ms = share * base_ms - transfer_ms(kv_fixed_bytes, link_gb_per_s)
    return max(0.0, left_ms / excess_ms) if excess_ms > 0 else None


def fitted_terms(surface: Surface) -> set[str]:
    """The terms that were added to the surface."""
    return {term for term, step in surface.steps.items() if step.code == "fitted"}


def route(
    surface: Surface,
    *,
    kv_bytes_per_token: int,
    link_gb_per_s: float,
    link: str = NOMINAL,
    append_tokens: int = APPEND_TOKENS,
    share: float = SHARE,
    kv_fixed_bytes: int = 0,
) -> Route:
    """The rule in numbers for one link. Raises ValueError as `transfer_limit_tokens` does."""
    limit = transfer_limit_tokens(
        surface,
        append_tokens=append_tokens,
        kv_bytes_per_token=kv_bytes_per_token,
        link_gb_per_s=link_gb_per_s,
        share=share,
        kv_fixed_bytes=kv_fixed_bytes,
    )
    return Route(
        link=link,
        link_gb_per_s=link_gb_per_s,
        share=share,
        append_tokens=append_tokens,
        transfer_us_per_token=1e3 * transfer_ms(kv_bytes_per_token, link_gb_per_s),
        transfer_tokens=limit,
        compute_tokens=surface.crossover_tokens.value,
    )


def routes_of(run: Run) -> list[Route]:
    """The rule for the run's nominal link and each measured one.

    Empty where the surface was not fitted or the KV's size is not known.
    """
    surface, size = run.surface, run.kv_bytes_per_token
    if surface is None or size is None:
        return []
    fitted = (surface.floor_ms, surface.new_token_us, surface.cached_token_us)
    if any(part.value is None for part in fitted):
        return []
    links = {NOMINAL: run.plan.link_gb_per_s, **run.kv_links_gb_per_s}
    return [
        route(
            surface,
            kv_bytes_per_token=size,
            kv_fixed_bytes=run.kv_fixed_bytes,
            link_gb_per_s=speed,
            link=link,
        )
        for link, speed in links.items()
    ]
