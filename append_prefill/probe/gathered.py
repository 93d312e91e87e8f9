"""What one launch has gathered at one condition, sample by sample."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field, fields

from append_prefill.probe.sample import Company, Sample
from append_prefill.records.grounds import DEVICE_STATE
from append_prefill.records.launch import Series, TrafficSeries, Void
from append_prefill.workload.traffic import Condition


@dataclass
class Gathered:
    """Lists of one entry per valid sample; `void` counts the others by reason."""

    ttft_ms: list[float] = field(default_factory=list)
    e2e_ms: list[float] = field(default_factory=list)
    itl_ms: list[float | None] = field(default_factory=list)
    output_tokens: list[int] = field(default_factory=list)
    cached_tokens: list[int] = field(default_factory=list)
    block: list[int] = field(default_factory=list)
    void: Counter[str] = field(default_factory=Counter)
    planned_cached_tokens: int | None = None
    company: list[Company] = field(default_factory=list)
    boundary_merged_tokens: list[int | None] = field(default_factory=list)

    def add(self, sample: Sample, block: int, block_void: str | None) -> None:
        times = sample.result
        self.planned_cached_tokens = sample.planned_cached_tokens
        if isinstance(times, str):
            self.void[times] += 1
        elif block_void:
            # Which state it was, with its numbers, is in the block's own entry.
            self.void[DEVICE_STATE] += 1
        else:
            self.ttft_ms.append(times.ttft_ms)
            self.e2e_ms.append(times.e2e_ms)
            self.itl_ms.append(times.itl_ms)
            self.output_tokens.append(times.output_tokens)
            self.cached_tokens.append(times.cached_tokens)
            self.block.append(block)
            self.company.append(sample.company)
            self.boundary_merged_tokens.append(sample.boundary_merged_tokens)

    def series(self, condition: Condition) -> Series | TrafficSeries:
        """As the record keeps it: a plain series of the default traffic, else with its own."""
        point, traffic = condition.point, condition.traffic
        others = ("void", "planned_cached_tokens", "company", "boundary_merged_tokens")
        kept = {k: v for k, v in asdict(self).items() if k not in others}
        kept |= {
            "context_tokens": point.context_tokens,
            "append_tokens": point.append_tokens,
            "void": [Void(reason=r, count=n) for r, n in sorted(self.void.items())],
        }
        if traffic.is_default:
            return Series(**kept)
        for name in (one.name for one in fields(Company)):
            values = [getattr(company, name) for company in self.company]
            # Empty where no sample has one: it is not of that company.
            kept[name] = values if any(value is not None for value in values) else []
        merged = [tokens for tokens in self.boundary_merged_tokens if tokens is not None]
        planned = self.planned_cached_tokens
        return TrafficSeries(
            **kept,
            **asdict(traffic),
            planned_cached_tokens=planned,
            boundary_merged_tokens=merged,
        )
