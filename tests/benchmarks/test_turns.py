import pytest

from append_prefill.planted.protocol import Settings
from append_prefill.workload.loading import load_profile
from benchmarks.turns import Ending, converse, kept, new_tokens
from tests.planted.client import client_of, quick_server

NO_OVERLAP = ["--disable-overlap-schedule"]


@pytest.mark.parametrize(
    ("version", "shown"),
    [
        ("0.5.7", "100/103 123/126 146/149 169/172"),
        ("0.5.21", "103/103 126/126 149/149 172/172"),
        ("0.5.22", "102/102 125/125 148/148 171/171"),
    ],
)
def test_what_a_turn_found_stands_beside_what_its_version_keeps(version, shown):
    ending = Ending("short", 3)
    with (
        quick_server(settings=Settings(sglang_version=version)) as server,
        client_of(server) as client,
    ):
        rows = converse(client, new_tokens(load_profile("cpu-nano"), 1), ending)
    assert kept({"sglang": version, "server_args": [], "turns": rows}, ending) == shown


def test_a_server_without_the_overlap_scheduler_keeps_one_less():
    row = {"replies": "short", "turn": 2, "before_tokens": 103, "cached_tokens": 102}
    found = {"sglang": "0.5.9", "server_args": NO_OVERLAP, "turns": [row]}
    assert kept(found, Ending("short", 3)) == "102/102"
    several = Ending("short", 3, at_once=2)
    found["turns"] = [row, row, row | {"cached_tokens": 101}]
    assert kept(found, several) == "0 fewer: 2, 1 fewer: 1"
