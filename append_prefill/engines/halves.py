"""The servers of a P/D pair as engines: the same SGLang, told to prefill or to decode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from append_prefill.engines.base import Engine
from append_prefill.engines.local import PlantedEngine, SglangEngine
from append_prefill.errors import InfrastructureError

ROLES = ("alone", "prefill", "decode")

_OPTION = "[pd_pair]"


def part_of_pair(
    engine: Engine, role: str, *, backend: str, bootstrap_port: int, server_args: Sequence[str] = ()
) -> Engine:
    """An engine like `engine` whose servers have one of the `ROLES`.

    `backend` and `bootstrap_port` are those of both halves, `server_args` SGLang's own for all
    three. Raises InfrastructureError for one that launches no servers.
    """
    half = {} if role == "alone" else _half(role, backend, bootstrap_port)
    if isinstance(engine, SglangEngine):
        told = [part for name, value in half.items() for part in (f"--{name}", value)]
        extra = {**engine.extra_args, _OPTION: [*server_args, *told]}
        return replace(engine, extra_args=extra)
    if isinstance(engine, PlantedEngine):
        return replace(engine, options={**engine.options, **half})
    raise InfrastructureError("a server that is already running cannot be made one of a pair")


def _half(role: str, backend: str, bootstrap_port: int) -> dict[str, str]:
    return {
        "disaggregation-mode": role,
        "disaggregation-transfer-backend": backend,
        "disaggregation-bootstrap-port": str(bootstrap_port),
    }
