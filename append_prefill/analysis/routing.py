"""A routing rule with numbers in it: when to prefill elsewhere and ship the KV cache.

The study ends with "minimise transfers" and no number; its arithmetic said a transfer is free. With
the fitted surface T(L, m) = floor + work and the link's true cost a token, the answer is a length.

Peers' rules, for comparison: NVIDIA Dynamo keeps a request on the decode worker if the uncached
tokens are below 2048 and below 0.7 of the prompt (its defaults); llm-d disaggregates if the
uncached tokens reach a threshold (8 and 16 in its examples; never, by default). Neither weighs the
cost of moving L tokens over the link at hand, which is what decides here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from append_prefill.analysis.transfer import transfer_ms
from append_prefill.records.run import Surface


@dataclass(frozen=True, slots=True)
class Route:
    """Tokens at which the decision turns; None: never, or (crossover) not seen.

    `transfer_tokens`: the L from which moving the KV of L tokens exceeds `share` of TTFT(L, m).
    `compute_tokens`: m*, from which new tokens cost more than the floor hides.
    """

    link_gb_per_s: float
    share: float
    append_tokens: int
    transfer_us_per_token: float
    transfer_tokens: float | None
    compute_tokens: float | None
    rule: str


def transfer_limit_tokens(
    surface: Surface,
    *,
    append_tokens: int,
    kv_bytes_per_token: int,
    link_gb_per_s: float,
    share: float,
) -> float | None:
    """L at which L * bytes / speed = share * TTFT(L, m); None if it never gets there.

    Solved in closed form, TTFT being linear in L: share * T(0, m) / (transfer - share * b) with
    both costs per token. Raises ValueError if the surface has no values or share is not in (0, 1].
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
    base_ms = floor + work_ms if surface.form == "sum" else max(floor, work_ms)
    per_token_ms = transfer_ms(kv_bytes_per_token, link_gb_per_s)
    excess_ms = per_token_ms - share * cached / 1e3
    return share * base_ms / excess_ms if excess_ms > 0 else None


def route(
    surface: Surface,
    *,
    kv_bytes_per_token: int,
    link_gb_per_s: float,
    append_tokens: int = 128,
    share: float = 0.2,
) -> Route:
    """The rule in numbers and words for one link.

    `share` 0.2: a fifth of TTFT is the spread the study itself calls flat. `append_tokens` 128: its
    own turn length. Raises ValueError as `transfer_limit_tokens` does.
    """
    limit = transfer_limit_tokens(
        surface,
        append_tokens=append_tokens,
        kv_bytes_per_token=kv_bytes_per_token,
        link_gb_per_s=link_gb_per_s,
        share=share,
    )
    crossover = surface.crossover_tokens.value
    moving = (
        "moving the context's KV never costs"
        if limit is None
        else f"from L = {math.ceil(limit)} cached tokens moving their KV costs"
    )
    computing = (
        "no cost per new token was seen, so a prefill worker gains nothing"
        if crossover is None
        else f"below m = {math.floor(crossover)} new tokens a prefill worker gains nothing"
    )
    return Route(
        link_gb_per_s=link_gb_per_s,
        share=share,
        append_tokens=append_tokens,
        transfer_us_per_token=1e3 * transfer_ms(kv_bytes_per_token, link_gb_per_s),
        transfer_tokens=limit,
        compute_tokens=crossover,
        rule=(
            f"At {link_gb_per_s:g} GB/s {moving} more than {100 * share:g} % of TTFT, and "
            f"{computing} by compute: keep such a turn where its cache is."
        ),
    )
