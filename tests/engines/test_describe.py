import pytest

from append_prefill.engines.attach import AttachedEngine
from append_prefill.engines.describe import (
    KvPool,
    describe_server,
    kv_pool_in,
    parse_server_info,
    resolved_in,
)
from append_prefill.errors import InfrastructureError
from append_prefill.planted.faults import Faults
from tests.planted.client import quick_server

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
        ({"cuda_graph_config": {"prefill": []}}, None),
        ({"cuda_graph_config": {"prefill": {"backend": "breakable"}}}, "breakable"),
        ({"cuda_graph_config": {"prefill": {"backend": "disabled"}}}, "off"),
    ],
)
def test_prefill_graph_in_every_versions_words(more, graph):
    assert parse_server_info(COMMON | more, {}).prefill_graph == graph


@pytest.mark.parametrize(
    ("more", "tokens"),
    [
        ({"cuda_graph_config": {"prefill": {"backend": "breakable", "bs": [8, 4, 8]}}}, [4, 8]),
        ({"cuda_graph_config": {"prefill": {"backend": "breakable", "bs": None}}}, None),
        ({"cuda_graph_config": {"prefill": {"backend": "breakable"}}}, None),
        ({"cuda_graph_config": {"prefill": {"backend": "breakable", "bs": [4, True]}}}, None),
        ({"cuda_graph_config": {"prefill": {"backend": "disabled", "bs": [4, 8]}}}, []),
        (
            {
                "disable_piecewise_cuda_graph": False,
                "piecewise_cuda_graph_tokens": [4, 8],
                "version": "0.5.12",
            },
            [4, 8],
        ),
        (
            {
                "disable_piecewise_cuda_graph": True,
                "piecewise_cuda_graph_tokens": [4, 8],
                "version": "0.5.12",
            },
            [],
        ),
        ({"version": "0.5.12"}, None),
        ({}, None),
    ],
)
def test_sizes_of_graphs_are_those_that_are_captured(more, tokens):
    assert parse_server_info(COMMON | more, {}).prefill_graph_tokens == tokens


def said(**memory):
    return {"internal_states": [{"memory_usage": memory}, {"memory_usage": {}}]}


def test_the_kv_pool_is_what_the_first_rank_says():
    assert kv_pool_in(said(kvcache=1.863, token_capacity=20345)) == KvPool(1.863, 20345)


@pytest.mark.parametrize(
    "info",
    [
        {},
        {"internal_states": []},
        {"internal_states": [{"memory_usage": None}]},
        said(token_capacity=5),
        said(kvcache="1.9", token_capacity=5),
        said(kvcache=True, token_capacity=5),
        said(kvcache=1.9, token_capacity=-1),
    ],
)
def test_a_server_that_does_not_say_has_no_kv_pool(info):
    assert kv_pool_in(info) is None


@pytest.mark.parametrize("info", [{}, {"page_size": "1"}, {"page_size": 0}])
def test_no_page_size_is_an_error(info):
    with pytest.raises(InfrastructureError, match="page_size of at least one token"):
        parse_server_info(info, {})


@pytest.mark.parametrize(
    ("fault", "came"),
    [
        ("html", r"/server_info gave '<!doctype html>.*' \('text/html'\), which is no JSON"),
        ("list", r"/server_info gave JSON of another kind \(list\)"),
    ],
)
def test_server_info_of_something_else_is_named_with_what_was_expected(fault, came):
    with quick_server(Faults(info=fault)) as server:
        with pytest.raises(InfrastructureError, match=came) as caught:
            describe_server(server.base_url, ("/server_info",), versions={})
        assert "an SGLang server gives a JSON object" in str(caught.value)
        with pytest.raises(InfrastructureError, match=came):
            AttachedEngine(server.base_url).check()


@pytest.mark.parametrize(
    "version",
    [
        "<script>alert(1)</script>",
        "\x1b[31mred\x07",
        "9" * 2**20,
        "../../x",
        "",
        "0.5.23\n0.5.24",
    ],
)
def test_a_version_that_is_none_is_one_line(version):
    with (
        quick_server(Faults(says_version=version)) as server,
        pytest.raises(InfrastructureError, match="says a version that is none: '") as caught,
    ):
        describe_server(server.base_url, ("/server_info",), versions={})
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("version", [5, ["0.5.23"], {"a": 1}, True])
def test_a_version_that_is_no_text_is_none(version):
    with pytest.raises(InfrastructureError, match="says a version that is none"):
        parse_server_info(COMMON | {"version": version}, {})


def test_what_a_server_resolved_is_flat_small_and_without_secrets_and_places():
    said = parse_server_info(
        COMMON
        | {
            "version": "0.5.23",
            "schedule_policy": "lpm",
            "enable_x": None,
            "cuda_graph_config": {"prefill": {"backend": "breakable"}, "bs": [1, 2]},
            "lone": "\ud800",
            "share": float("nan"),
            "long": ["a" * 400],
            "port": 1,
            "host": "0.0.0.0",
            "model_path": "/m",
            "random_seed": 7,
            "startup_time": {"load_weight": 0.31},
            "hf_token": "hunter2",
            "api_key": "hunter2",
            "extra": {"password": "hunter2", "url": "http://u:hunter2@h/"},
            "internal_states": [{"a": 1}],
        },
        {},
    )
    told = resolved_in(said.raw)
    long = told.pop("long")
    assert told == {
        "schedule_policy": "lpm",
        "enable_x": None,
        "cuda_graph_config.prefill.backend": "breakable",
        "cuda_graph_config.bs": "[1, 2]",
        "lone": "?",
        "share": "NaN",
        "extra.url": "http://***@h/",
    }
    assert len(long) < 200
    other = resolved_in({"long": ["a" * 399 + "b"]})["long"]
    assert other != long  # what is cut off is told apart all the same


def test_a_server_that_says_too_much_does_not_fill_the_record():
    told = resolved_in({f"key_{n}": "x" * 1_000 for n in range(5000)} | {"k" * 10**6: 1})
    assert len(told) == 2000
    assert len(str(told)) < 500_000
