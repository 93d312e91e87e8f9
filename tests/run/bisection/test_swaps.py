"""Which dependencies are swapped back, and which of them together."""

from __future__ import annotations

import pytest

from append_prefill.engines.defaults import Defaults
from append_prefill.errors import UsageError
from append_prefill.run.bisection.swaps import dependencies, swaps_of

REQUIRES = {
    # An extra's and another system's are nobody's here, and what never held is no clash.
    "transformers": ("tokenizers<0.24,>=0.23", 'orjson<1; extra == "speed"', "uvloop==9"),
    "sglang": ("transformers==5.19",),
}
OLD_REQUIRES = {"transformers": ("tokenizers<0.23,>=0.22",), "torch": ("nvidia-cublas==12",)}
OLD = {
    "sglang": "1", "transformers": "5.12", "tokenizers": "0.22.2", "torch": "2.9+cpu",
    "sgl-kernel": "0.3", "nvidia-cublas": "12", "uvloop": "0.21", "orjson": "3.1", "same": "1",
    "torchao": "0.17",
}  # fmt: skip
NEW = {
    "sglang": "2", "transformers": "5.19", "tokenizers": "0.23.2", "torch": "2.10",
    "sglang-kernel": "0.4", "nvidia-cublas": "13", "uvloop": "0.22", "orjson": "3.2", "same": "1",
    "xgrammar": "0.2",
}  # fmt: skip


@pytest.fixture
def sides(tmp_path):
    (tmp_path / "pyvenv.cfg").touch()
    old = Defaults({}, {}, OLD, requires=OLD_REQUIRES)
    return old, Defaults({}, {}, NEW, requires=REQUIRES, prefix=tmp_path)


def test_all_that_differ_with_those_that_they_have_to_match(sides):
    assert [dict(swap.packages) for swap in swaps_of(None, *sides)] == [
        # cublas by torch's own word, the kernels, renamed meanwhile, by the table of those that
        # say nothing.
        {"nvidia-cublas": "12", "sgl-kernel": "0.3", "sglang-kernel": None, "torch": "2.9+cpu"},
        {"orjson": "3.1"},
        {"tokenizers": "0.22.2", "transformers": "5.12"},
        {"torchao": "0.17"},
        {"uvloop": "0.21"},
    ]


def test_what_is_named_goes_with_its_group(sides):
    swaps = swaps_of(["Tokenizers", "orjson", "transformers"], *sides)
    assert [swap.name for swap in swaps] == [
        "orjson==3.1",
        "tokenizers==0.22.2 transformers==5.12",
    ]
    listed = {one.name: one for one in dependencies(*sides, swaps)}
    assert "tokenizers" not in listed
    assert "same" not in listed
    assert (listed["torch"].old, listed["torch"].new, listed["torch"].reason) == (
        "2.9+cpu", "2.10", "not-asked",
    )  # fmt: skip
    # There is no version of it to go back to.
    assert (listed["xgrammar"].old, listed["xgrammar"].reason) == (None, "unknown-old-value")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("orjsn", "--swap orjsn: is in neither environment. Those that can be: nvidia-cublas, "),
        ("same", r"--swap same: is the same on both sides \(1\)\."),
        ("xgrammar", r"--swap xgrammar: is not in the older one \(0.2 in the newer\)"),
        ("sglang", "--swap sglang: is what is compared"),
    ],
)
def test_what_cannot_be_swapped_is_refused(name, problem, sides):
    with pytest.raises(UsageError, match=problem):
        swaps_of([name], *sides)


def test_without_a_virtual_environment_nothing_is(sides, tmp_path):
    (tmp_path / "pyvenv.cfg").unlink()
    with pytest.raises(UsageError, match=f"--swap {tmp_path}: is no virtual environment"):
        swaps_of(["orjson"], *sides)
    assert swaps_of([], *sides) == []
