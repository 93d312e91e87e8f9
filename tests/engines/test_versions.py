import pytest

from append_prefill.engines.versions import cpu_packages_after, cpu_packages_before, traits_of


@pytest.mark.parametrize(
    ("version", "info", "retraction", "flush", "stand_ins"),
    [
        ("0.5.5.post3", "/get_server_info", "total_retractions", False, ("cpu", "cpu_vllm")),
        ("0.5.9", "/server_info", "total_retractions", False, ("cpu",)),
        ("0.5.12", "/server_info", "num_retractions", True, ("cpu",)),
        ("0.5.15.post1", "/server_info", "num_retractions", True, ()),
        ("0.5.23", "/server_info", "num_retractions", True, ("cpu",)),
    ],
)
def test_traits_follow_the_table(version, info, retraction, flush, stand_ins):
    traits = traits_of(version)
    assert traits.server_info_path == info
    assert traits.retraction_key == retraction
    assert traits.flush_timeout_param is flush
    assert traits.stand_ins == stand_ins
    assert traits.warning is None


@pytest.mark.parametrize(
    ("version", "off", "on"),
    [
        ("0.5.5.post3", [], ["--enable-piecewise-cuda-graph"]),
        ("0.5.13.post1", ["--disable-piecewise-cuda-graph"], []),
        (
            "0.5.14",
            ["--cuda-graph-backend-prefill", "disabled"],
            ["--cuda-graph-backend-prefill", "tc_piecewise"],
        ),
        (
            "0.5.23",
            ["--cuda-graph-backend-prefill", "disabled"],
            ["--cuda-graph-backend-prefill", "breakable"],
        ),
    ],
)
def test_prefill_graph_has_a_switch_in_every_version(version, off, on):
    assert traits_of(version).prefill_graph_args("off") == off
    assert traits_of(version).prefill_graph_args("on") == on


def test_a_version_between_two_rows_takes_the_older_one():
    assert traits_of("0.5.11.post9").retraction_key == "total_retractions"


def test_a_release_candidate_behaves_as_its_release():
    assert traits_of("0.5.12rc1").retraction_key == "num_retractions"
    assert traits_of("0.5.12.dev0+g123").retraction_key == "num_retractions"


@pytest.mark.parametrize(
    ("version", "word", "same_as"),
    [("0.4.1", "older", "0.5.5.post3"), ("0.6.0", "newer", "0.5.23")],
)
def test_versions_outside_the_table_take_the_nearest_rule_with_a_warning(version, word, same_as):
    traits = traits_of(version)
    assert word in traits.warning
    assert traits.stand_ins == traits_of(same_as).stand_ins
    assert traits.prefill_graph_args("off") == traits_of(same_as).prefill_graph_args("off")


def test_text_that_is_no_version_is_refused():
    with pytest.raises(ValueError, match="latest"):
        traits_of("latest")


def test_python_range():
    assert not traits_of("0.5.23").requires_python.contains("3.10.4")
    assert traits_of("0.5.9").requires_python.contains("3.10.4")


def test_cpu_recipe_takes_pins_from_sglangs_own_metadata():
    with_deps, without = cpu_packages_after(
        "0.5.9",
        [
            "transformers==4.57.1",
            "openai==2.6.1",
            "torchao==0.9.0",
            "torch==2.9.1",
            "gguf",
            "apache-tvm-ffi<0.2,>=0.1.5",
            "sgl-kernel==0.3.21",
            "soundfile==0.13.1; extra == 'all'",
        ],
    )
    assert with_deps == ["transformers==4.57.1"]
    assert "torchao==0.9.0" in without
    assert "gguf==0.19.0" in without
    assert "apache-tvm-ffi==0.1.9" in without
    assert "torchvision==0.16.2; python_version < '3.12'" in without
    assert not any(name.startswith(("torch==", "sgl-kernel", "soundfile")) for name in without)
    assert "torch==2.13.0" in cpu_packages_before("0.5.9")


def test_cpu_recipe_of_a_new_version_needs_no_table():
    with_deps, without = cpu_packages_after(
        "0.5.30", ["transformers==5.30", "tokenizers==0.30", "xgrammar==0.3"]
    )
    assert with_deps == ["transformers==5.30", "tokenizers==0.30"]
    assert "xgrammar==0.3" in without
