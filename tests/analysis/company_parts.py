"""Series of other traffic, for the tests of this room."""

from append_prefill.records.launch import TrafficSeries


def traffic_series(ttft_ms, *, company="together:2", block=None, **lists):
    """One condition at (256, 64): each request ends 1 ms after its first token."""
    count = len(ttft_ms)
    return TrafficSeries(
        context_tokens=256,
        append_tokens=64,
        ttft_ms=ttft_ms,
        e2e_ms=[ms + 1 for ms in ttft_ms],
        itl_ms=[None] * count,
        output_tokens=[2] * count,
        cached_tokens=[256] * count,
        block=block or [0] * count,
        company=company,
        **lists,
    )
