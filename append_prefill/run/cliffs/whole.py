"""One search from settings to record: the device, the budget, and what is kept of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from append_prefill.analysis.cliffs.expected import BOUND
from append_prefill.engines.clocks import locked_clocks
from append_prefill.errors import InfrastructureError
from append_prefill.records.cliffs import (
    SEARCH_FILE,
    Cliff,
    CliffSearch,
    Ended,
    Suspect,
)
from append_prefill.records.kept import write_document
from append_prefill.run.cliffs.prober import REQUESTS_A_SAMPLE
from append_prefill.run.cliffs.search import CONFIRM_LAUNCHES, SUSPECTS_MAX, Place, Search
from append_prefill.run.cliffs.servers import LocalServers
from append_prefill.run.device import free_device
from append_prefill.run.settings import Settings
from append_prefill.workload.profile import Limits
from append_prefill.workload.traffic_experiment import TrafficExperiment

SAMPLING_SHARE = 0.2
"""What the few points of a confirming launch take on top of launching it, as a part of that."""


@dataclass(frozen=True)
class Asked:
    """`minutes` and `requests_max` end the looking, whichever is first; None: no such limit.

    `limits` are where is searched, `experiment` in whose traffic, None for lone append-prefills.
    """

    settings: Settings
    folder: Path
    minutes: float
    requests_max: int | None
    command: str
    limits: Limits
    experiment: TrafficExperiment | None = None

    @property
    def experiment_id(self) -> str | None:
        return None if self.experiment is None else self.experiment.id


def whole_search(asked: Asked, tell: Callable[[str], None]) -> CliffSearch:
    """Search, and write the record into the folder, whatever ends it.

    The budget holds what the fresh launches will take. Raises InfrastructureError where a server
    failed; the record then has what was found before.
    """
    settings, created_at = asked.settings, datetime.now(UTC)
    with ExitStack() as stack:
        device = stack.enter_context(
            free_device(
                settings.devices, 0, give_up=lambda: False, limit_s=asked.minutes * 60, tell=tell
            )
        )
        if device is None:  # not reachable: nothing told the wait to end
            raise InfrastructureError("no device")
        began_s = time.monotonic()
        if settings.locked_mhz is not None:
            stack.enter_context(locked_clocks(device))
        servers = LocalServers(settings, device, asked.folder, asked.experiment)

        def spent(requests: int) -> bool:
            if asked.requests_max is not None and requests >= asked.requests_max:
                return True
            held_s = (servers.launch_s or 0.0) * CONFIRM_LAUNCHES * (1 + SAMPLING_SHARE)
            return time.monotonic() - began_s + held_s >= asked.minutes * 60

        search = Search(
            servers=servers,
            limits=asked.limits,
            seed=settings.options.seed,
            rate=settings.profile.policy.false_alarm_rate,
            spent=spent,
            tell=tell,
            kept=[
                cliff.points[1]
                for cliff in settings.cliffs
                if cliff.experiment == asked.experiment_id
            ],
            sample_requests=requests_of(asked.experiment),
        )
        ended: Ended | None = None
        try:
            search.run()
        except KeyboardInterrupt:
            ended = "interrupted"
        finally:
            found = CliffSearch(
                created_at=created_at,
                version=servers.version,
                profile=settings.profile.name,
                device=str(settings.device_identity().get("device")),
                seed=search.seed,
                bound=BOUND,
                false_alarm_rate=search.rate,
                minutes=(time.monotonic() - began_s) / 60,
                experiment=asked.experiment_id,
                requests=0 if search.prober is None else search.prober.requests,
                points=0 if search.prober is None else search.prober.points,
                noise_sd=_known(None if search.prober is None else search.prober.noise_sd),
                launches=search.launches,
                suspects=[_suspect(place, asked.experiment_id) for place in search.places],
                cliffs=_cliffs(search.places, servers.version, asked, created_at),
                ended=ended or _ended(search, asked.requests_max),
                command=asked.command,
            )
            write_document(asked.folder / SEARCH_FILE, found)
    return found


def _ended(search: Search, requests_max: int | None) -> Ended:
    if len(search.places) >= SUSPECTS_MAX:
        return "suspects"
    requests = 0 if search.prober is None else search.prober.requests
    return "requests" if requests_max is not None and requests >= requests_max else "minutes"


def requests_of(experiment: TrafficExperiment | None) -> int:
    """Those of a sample: append-prefills, what decodes beside them, and the primes of both."""
    if experiment is None:
        return REQUESTS_A_SAMPLE
    unit = experiment.units[0]
    if unit.conversation is not None:
        return REQUESTS_A_SAMPLE
    if experiment.traffic.company_kind == "beside":
        # A full prefill comes upon those that decode, too, and has no prime.
        return REQUESTS_A_SAMPLE * (int(experiment.traffic.company_size) + 1) + 1
    return REQUESTS_A_SAMPLE * unit.samples


def _suspect(place: Place, experiment: str | None) -> Suspect:
    sharp, jump, located = place.sharp, place.jump, place.located
    point = (place.point.context_tokens, place.point.append_tokens)
    told = (
        "not-tried" if located is None or (sharp is not None and jump is None)
        else "no-edge" if sharp is None
        else "confirmed" if place.confirmed
        else "not-confirmed"
    )  # fmt: skip
    return Suspect(
        point=point,
        excess=math.exp(place.excess),
        edge=None if sharp is None else sharp.edge.model_copy(update={"experiment": experiment}),
        jump=None if sharp is None else math.exp(sharp.jump),
        context_tokens=(point[0], point[0]) if located is None else located.context_tokens,
        append_tokens=(point[1], point[1]) if located is None else located.append_tokens,
        told=told,
        ratio=None if jump is None else jump.ratio,
        low=None if jump is None or jump.low is None else math.exp(jump.low),
        p=None if jump is None else jump.p,
    )


def _cliffs(
    places: list[Place], version: str | None, asked: Asked, found_at: datetime
) -> list[Cliff]:
    """Those that were confirmed, each once: two edges of one axis may be of one cliff."""
    cliffs: list[Cliff] = []
    for place in places:
        sharp, jump, located = place.sharp, place.jump, place.located
        if not place.confirmed or sharp is None or located is None:
            continue
        if jump is None or jump.low is None or jump.high is None or jump.p is None:
            continue  # not reached: what is confirmed has several launches
        cliff = Cliff(
            **sharp.edge.model_dump(exclude={"experiment"}),
            experiment=asked.experiment_id,
            ratio=jump.ratio,
            low=math.exp(jump.low),
            high=math.exp(jump.high),
            p=jump.p,
            launches=jump.launches,
            context_tokens=located.context_tokens,
            append_tokens=located.append_tokens,
            found_at=found_at,
            version=version,
            device=str(asked.settings.device_identity().get("device")),
        )
        if not any(one.axis == cliff.axis and one.has(cliff.points[1]) for one in cliffs):
            cliffs.append(cliff)
    return cliffs


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value
