"""Whether the client keeps up with what a plan asks of it: the client floor in company.

The very calls that company is made of go to the server of the client floor, which answers each
after a fixed time, however many it holds. What is late, or slower than that, is the client's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from append_prefill.errors import InfrastructureError
from append_prefill.probe.call import Crowd
from append_prefill.probe.client import TimedClient
from append_prefill.probe.floor import FloorServer
from append_prefill.probe.together import due_times_s, send_due
from append_prefill.records.launch import ClientLoad
from append_prefill.workload.traffic_experiment import Unit

DELAY_MS = 10.0
"""What the server holds an answer: about the shortest TTFT of a GPU at its floor, so that as many
are under way at once as in a measurement, and no more."""


def hardest(units: Iterable[Unit]) -> Unit | None:
    """The highest rate, else the most at once; None where nothing is sent in company."""
    kinds = ("together", "rate")
    asked = [unit for unit in units if unit.traffic.company_kind in kinds]
    return max(
        asked,
        key=lambda unit: (kinds.index(unit.traffic.company_kind), unit.traffic.company_size),
        default=None,
    )


def measure_client_load(units: Iterable[Unit], seed: Sequence[int]) -> ClientLoad | None:
    """At the hardest of the units; None where nothing is sent in company.

    It takes as long as the unit's arrivals do. Raises InfrastructureError if the server of the
    client floor fails.
    """
    unit = hardest(units)
    if unit is None:
        return None
    due_s = due_times_s(unit, seed)
    prompt = list(range(1000, 1000 + unit.points[0].total_tokens))
    with (
        FloorServer(delay_ms=DELAY_MS) as server,
        Crowd(server.base_url, None).opened(len(due_s)) as clients,
        TimedClient(server.base_url) as control,
    ):
        calls, due_ns = send_due(clients, [prompt] * len(due_s), due_s, output_tokens=2)
        held_ms = np.array(control.get_json("/held")) / 1e6
    ttft_ms = [call.timing.ttft_ms for call in calls]
    told = [value for value in ttft_ms if value is not None]
    if len(told) < len(calls) or len(held_ms) != len(calls):
        raise InfrastructureError("the server that measures the client floor did not answer all")
    late_ms = [(call.sent_ns - due) / 1e6 for call, due in zip(calls, due_ns, strict=True)]
    rate = unit.traffic.company_size if unit.traffic.company_kind == "rate" else None
    return ClientLoad(
        requests=len(calls),
        per_s=rate,
        late_p99_ms=float(np.percentile(late_ms, 99)),
        ttft_p99_ms=float(np.percentile(np.array(told) - held_ms, 99)),
    )
