"""What the halves of a P/D pair are launched with, and what cannot be one."""

import pytest

from append_prefill.engines.attach import AttachedEngine
from append_prefill.engines.halves import part_of_pair
from append_prefill.engines.local import PlantedEngine
from append_prefill.errors import InfrastructureError
from append_prefill.workload.loading import load_profile


def part(engine, role):
    told = {"backend": "nixl", "bootstrap_port": 7, "server_args": ["--max-total-tokens", "9"]}
    return part_of_pair(engine, role, **told)


def test_a_simulated_half_is_told_its_role():
    planted = PlantedEngine({"floor-ms": "3"}, load_profile("cpu-nano"))
    assert part(planted, "alone").options == {"floor-ms": "3"}
    assert part(planted, "decode").options == {
        "floor-ms": "3",
        "disaggregation-mode": "decode",
        "disaggregation-transfer-backend": "nixl",
        "disaggregation-bootstrap-port": "7",
    }


def test_a_server_that_is_attached_to_is_no_half():
    attached = AttachedEngine("http://127.0.0.1:1", None, None)
    with pytest.raises(InfrastructureError, match="already running"):
        part(attached, "decode")
