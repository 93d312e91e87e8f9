import pytest

from append_prefill.engines.describe import parse_server_info
from append_prefill.errors import InfrastructureError

COMMON = {
    "page_size": 1,
    "chunked_prefill_size": 8192,
    "max_total_num_tokens": 40000,
    "max_req_input_len": 16378,
    "attention_backend": "torch_native",
    "prefill_attention_backend": None,
    "disable_radix_cache": False,
}


def test_figures_and_versions():
    info = COMMON | {"version": "0.5.23", "api_key": "hush", "launch_command": "x --api-key hush"}
    said = parse_server_info(info, {"torch": "2.13.0", "sglang": "0.5.22"})
    assert said.versions["sglang"] == "0.5.23"
    assert said.versions["torch"] == "2.13.0"
    assert said.versions["cuda"] is None
    assert said.chunked_prefill_tokens == 8192
    assert said.kv_capacity_tokens == 40000
    assert said.context_length_tokens == 16378
    assert said.attention_backend == "torch_native"
    assert said.radix_cache is True
    assert "hush" not in repr(said)


def test_what_is_not_said_is_none():
    said = parse_server_info({"page_size": 16, "chunked_prefill_size": -1}, {})
    assert said.chunked_prefill_tokens is None
    assert said.kv_capacity_tokens is None
    assert said.context_length_tokens is None
    assert said.radix_cache is None
    assert said.prefill_graph is None


@pytest.mark.parametrize(
    ("more", "graph"),
    [
        ({"version": "0.5.5.post3", "enable_piecewise_cuda_graph": False}, "off"),
        ({"version": "0.5.9", "enable_piecewise_cuda_graph": True}, "tc_piecewise"),
        ({"version": "0.5.9", "disable_cuda_graph": True}, "off"),
        ({"version": "0.5.12", "disable_piecewise_cuda_graph": False}, "tc_piecewise"),
        ({"version": "0.5.12", "disable_piecewise_cuda_graph": True}, "off"),
        ({"cuda_graph_config": {"prefill": {"backend": "breakable"}}}, "breakable"),
        ({"cuda_graph_config": {"prefill": {"backend": "disabled"}}}, "off"),
    ],
)
def test_prefill_graph_in_every_versions_words(more, graph):
    assert parse_server_info(COMMON | more, {}).prefill_graph == graph


def test_no_page_size_is_an_error():
    with pytest.raises(InfrastructureError, match="page_size"):
        parse_server_info({}, {})
