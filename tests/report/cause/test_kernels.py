"""What is said of the GPU, and its tables."""

from __future__ import annotations

from typing import Any

import pytest

from append_prefill.records.cause import Cause
from append_prefill.report.cause import kernels, sentence
from append_prefill.report.cause.page import render_page
from tests.report.cause.test_page import plain, run
from tests.run.cause.profiled import LOOP, cause, launch

GEMM = "nvjet_sm90_tst_{}_TNT"
NORM = "void flashinfer::norm::FusedAddRMSNormKernel<8u>(int)"


def on_gpu(*, ratio: float = 1.12, more_ms: float = 3.0, pairs: int = 3, **other: Any) -> Cause:
    """As of prefill graphs: another tile, `more_ms` more of a GPU, 4.6 less of a core."""
    made = []
    for pair in range(pairs):
        alike = {NORM: 0.67 + 0.001 * pair}
        new = {GEMM.format("256x128"): 18.7 + more_ms + 0.05 * pair} | alike
        old = {GEMM.format("128x208"): 18.7} | alike
        wait = (*LOOP, "torch.cuda.streams:Event.synchronize")
        made.append(
            (
                launch("candidate", pair, {LOOP: 13.5, wait: 13.3}, new),
                launch("reference", pair, {LOOP: 18.1, wait: 4.1}, old),
            )
        )
    return cause(made=made, ratio=ratio, **other)


def test_the_gpu_comes_first_where_it_moved_as_the_run_did():
    said = plain(sentence.cause_words(on_gpu()))
    assert said.startswith("On the GPU, a request takes 3.1 ms more than on 0.5.19 (+")
    gpu, _, core = said.partition(" On a core, a request takes 4.6 ms less than on 0.5.19 (")
    assert "). Of it, per request: nvjet +3.1 ms (+" in gpu
    assert "Norm" not in gpu  # alike on both sides
    assert core


def test_a_core_comes_first_where_the_gpu_moved_the_other_way():
    said = plain(sentence.cause_words(on_gpu(ratio=0.8)))
    core, _, gpu = said.partition(" On the GPU, a request takes 3.1 ms more than on 0.5.19 (")
    assert core.startswith("On a core, a request takes 4.6 ms less")
    assert gpu.endswith(", and of no kernel is it certain that it takes less.")


def test_a_gpu_that_is_not_told_apart_is_no_cause():
    said = plain(kernels.gpu_words(on_gpu(more_ms=-0.05)))
    assert said.startswith("What a request takes on the GPU in all is not told from 0.5.19 (")
    assert said.endswith(", and of no kernel is it certain that it takes more.")


def test_of_one_pair_the_total_alone_is_told():
    said = plain(kernels.gpu_words(on_gpu(pairs=1)))
    assert said == (
        "On the GPU, a request takes 3.0 ms more than on 0.5.19, and of no kernel is it certain "
        "that it takes more."
    )


def test_primes_are_in_what_a_request_takes_there_too():
    said = kernels.gpu_words(on_gpu(with_primes=True))
    assert said.startswith("On the GPU, a request with its prime takes 3.1 ms more")


def gpu_words_of(new: dict[str, float], old: dict[str, float]) -> str:
    made = [
        (launch("candidate", pair, {LOOP: 1.0}, new), launch("reference", pair, {LOOP: 1.0}, old))
        for pair in range(3)
    ]
    return kernels.gpu_words(cause(made=made))


def test_at_most_three_kernels_are_named_and_no_small_ones():
    new = {"one_kernel": 4.0, "two_kernel": 3.0, "three_kernel": 2.0, "four_kernel": 1.0}
    old = dict.fromkeys(new, 0.5)
    said = gpu_words_of(new, old)
    assert [name for name in new if name in said] == [*new][:3]
    said = gpu_words_of({**old, "one_kernel": 4.5, "two_kernel": 0.71, "four_kernel": 0.69}, old)
    assert "two_kernel" in said
    assert "four_kernel" not in said  # less than a twentieth of the largest


def test_without_a_gpu_nothing_is_said_of_one():
    assert kernels.gpu_words(cause()) == kernels.wait_words(cause()) == ""
    assert kernels.family_rows(cause()) == kernels.kernel_rows(cause()) == []


def test_waiting_is_told_and_is_no_row():
    found = on_gpu()
    assert kernels.wait_words(found) == (
        "Waiting for the GPU, too, which takes 13 ms of a core on 0.5.23 and 4.1 on 0.5.19: what "
        "is waited for are the kernels."
    )
    page = plain(render_page(found, run()))
    assert "Waiting for the GPU, too" in page
    assert "synchronize" not in page


def test_the_tables_have_kernels_by_name_and_each_by_itself():
    families = kernels.family_rows(on_gpu())
    assert [row.name for row in families] == ["nvjet", "flashinfer::norm::FusedAddRMSNormKernel"]
    assert (families[0].process, families[0].reference, families[0].candidate) == (
        "GPU",
        "19",
        "22",
    )
    assert families[0].sure
    rows = kernels.kernel_rows(on_gpu())
    assert [(row.name, row.note) for row in rows] == [
        (GEMM.format("256x128"), "only 0.5.23"),
        ("flashinfer::norm::FusedAddRMSNormKernel<8u>(int)", ""),
        (GEMM.format("128x208"), "only 0.5.19"),
    ]
    page = plain(render_page(on_gpu(), run()))
    assert page.index("nvjet</code>") < page.index("Each by itself") < page.index("128x208")


def test_a_record_of_before_has_each_kernel_by_itself_and_open():
    before = on_gpu().model_copy(update={"kernel_families": None, "kernels_total": None})
    page = plain(render_page(before, run()))
    assert "<details open><summary>Each by itself" in page
    assert "On the GPU" not in sentence.cause_words(before)
    assert "<details><summary>Each by itself" in plain(render_page(on_gpu(), run()))


@pytest.mark.parametrize(("length", "shown"), [(120, 120), (121, 120), (900, 120)])
def test_a_name_ends_where_a_line_does(length, shown):
    name = "n" * length
    short = kernels._short(f"void (anonymous namespace)::{name}")
    assert len(short) == shown
    assert short == (name if length == shown else name[:119] + "…")
