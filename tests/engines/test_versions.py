import time

import pytest

from append_prefill.engines.versions import (
    cpu_packages_after,
    cpu_packages_before,
    cpu_stubs,
    parse_version,
    shown,
    traits_of,
)


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
    assert cpu_stubs(version) == cpu_stubs(same_as)
    assert traits.prefill_graph == traits_of(same_as).prefill_graph


@pytest.mark.parametrize("text", ["latest", "", "1.2; rm", "<script>", "0.5\x1b[31m", "../../x"])
def test_text_that_is_no_version_is_refused_in_one_plain_line(text):
    assert parse_version(text) is None
    with pytest.raises(ValueError, match="is not a version") as caught:
        traits_of(text)
    assert str(caught.value).isprintable()


def test_a_megabyte_of_digits_is_refused_at_once():
    began_s = time.monotonic()
    assert parse_version("9" * 2**20) is None
    with pytest.raises(ValueError, match="is not a version") as caught:
        traits_of("9" * 2**20)
    assert len(str(caught.value)) < 200
    # Reading that many digits as a number takes seconds where no limit forbids it.
    assert time.monotonic() - began_s < 1


def test_quoted_text_is_short_and_harmless():
    assert shown("a\x1b[2Jb\n") == r"'a\x1b[2Jb\n'"
    assert len(shown("x" * 1000)) < 120


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
    assert "torch==2.13.0" in cpu_packages_before()


def test_cpu_recipe_of_a_new_version_needs_no_table():
    with_deps, without = cpu_packages_after(
        "0.5.30", ["transformers==5.30", "tokenizers==0.30", "xgrammar==0.3"]
    )
    assert with_deps == ["transformers==5.30", "tokenizers==0.30"]
    assert "xgrammar==0.3" in without
