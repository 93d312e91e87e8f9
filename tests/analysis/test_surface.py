import numpy as np
import pytest

from append_prefill.analysis.steps import Sizes, attended, further_chunks, padding
from append_prefill.analysis.surface import (
    _identified,
    _is_above_0,
    _rises_ms,
    choose,
    fit_starts,
    fit_surface,
)
from append_prefill.analysis.surface_form import Fit, fit_start, predict
from append_prefill.engines.describe import parse_server_info
from append_prefill.planted.cost import Cost, Draws, graph_buckets
from append_prefill.planted.info import server_info
from append_prefill.planted.protocol import Settings
from append_prefill.probe.launch import subject_of
from append_prefill.records.run import Step
from append_prefill.workload.points import Point
from tests.analysis.factory import POINTS, start, starts_of

M = np.array([p.append_tokens for p in POINTS], dtype=float)
CONTEXT = np.array([p.context_tokens for p in POINTS], dtype=float)
SUM = 19.0 + 0.004 * M + 0.002 * CONTEXT
MAX = np.maximum(19.0, 0.03 * M) + 0.002 * CONTEXT


@pytest.mark.parametrize(("form", "truth"), [("sum", SUM), ("max", MAX)])
def test_a_planted_surface_comes_back(form, truth) -> None:
    rng = np.random.default_rng(1)
    noise = 0.003 * rng.normal(size=(5, 1)) + 0.003 * rng.normal(size=(5, len(POINTS)))
    surface = fit_surface(starts_of(np.log(truth) + noise))
    assert surface is not None
    assert surface.form == form
    assert surface.starts == 5
    new = {"sum": 4.0, "max": 30.0}[form]
    for estimate, value in (
        (surface.floor_ms, 19.0),
        (surface.new_token_us, new),
        (surface.cached_token_us, 2.0),
        (surface.crossover_tokens, 19e3 / new),
    ):
        assert estimate.value == pytest.approx(value, rel=0.1)
        assert estimate.low < value < estimate.high
    assert surface.residual < 0.01


def test_exact_data_fits_exactly() -> None:
    fit = fit_start("max", POINTS, MAX)
    assert (fit.floor, fit.new, fit.cached) == pytest.approx((19.0, 0.03, 0.002))
    np.testing.assert_allclose(predict("max", fit, POINTS), MAX)


def test_no_cost_per_token_means_no_crossover() -> None:
    surface = fit_surface(starts_of(np.full((2, len(POINTS)), np.log(20.0))))
    assert surface is not None
    assert surface.floor_ms.value == pytest.approx(20.0)
    assert surface.crossover_tokens.value is None
    assert Fit(1.0, 0.0, 0.0, 0.0).crossover is None


def test_coefficients_are_never_negative() -> None:
    falling = np.log(30.0 - 0.01 * M)
    surface = fit_surface(starts_of(np.stack([falling, falling + 0.01])))
    assert surface is not None
    assert surface.new_token_us.value == pytest.approx(0.0)
    assert surface.new_token_us.low == 0.0


def test_one_start_has_values_and_no_interval() -> None:
    surface = fit_surface(starts_of(np.log(SUM)[None]))
    assert surface is not None
    assert surface.floor_ms.value == pytest.approx(19.0)
    assert (surface.floor_ms.low, surface.crossover_tokens.high) == (None, None)


def test_too_little_gives_no_surface() -> None:
    assert fit_surface([]) is None
    two = [Point(1, 1), Point(2, 2)]
    assert fit_surface(starts_of(np.zeros((3, 2)), two)) is None
    line = [Point(i, i) for i in (1, 2, 3, 4)]
    assert fit_surface(starts_of(np.zeros((3, 4)), line)) is None
    assert fit_surface(starts_of(np.zeros((3, 4)), line, side="reference")) is None


def test_a_point_that_some_start_lacks_is_left_out() -> None:
    table = np.log(np.stack([SUM, SUM, SUM]))
    table[1, 4] = np.nan
    surface = fit_surface(starts_of(table))
    assert surface is not None
    assert surface.starts == 3
    assert surface.floor_ms.value == pytest.approx(19.0)


@pytest.mark.parametrize(("form", "truth", "new"), [("sum", SUM, 4.0), ("max", MAX, 30.0)])
def test_exact_launches_give_their_coefficients_in_their_units(form, truth, new) -> None:
    other = starts_of(np.log(truth)[None] + 1, side="reference", first=2)
    own = starts_of(np.log(truth) + np.log([[1.0], [1.1]]))
    surface = fit_surface([*own, *other])
    assert surface is not None
    assert (surface.form, surface.starts) == (form, 2)
    assert surface.floor_ms.value == pytest.approx(19.0 * 1.05, rel=1e-6)
    assert surface.new_token_us.value == pytest.approx(new * 1.05, rel=1e-6)
    assert surface.cached_token_us.value == pytest.approx(2.0 * 1.05, rel=1e-6)
    half = 12.7062 * 0.05 * 2.0
    assert surface.cached_token_us.high == pytest.approx(2.1 + half, rel=1e-4)
    assert surface.cached_token_us.low == pytest.approx(2.1 - half, rel=1e-4)
    assert surface.crossover_tokens.value == pytest.approx(19e3 / new, rel=1e-6)
    assert surface.residual == pytest.approx(0.0, abs=1e-6)
    of_reference = fit_surface([*own, *other], "reference")
    assert of_reference is not None
    assert of_reference.floor_ms.value == pytest.approx(19.0 * np.e, rel=1e-6)


def test_a_residual_is_relative_and_of_one_point() -> None:
    table = np.log(SUM) + np.array([[0.0] * len(POINTS), [0.01, -0.01] * (len(POINTS) // 2)])
    surface = fit_surface(starts_of(table))
    assert surface is not None
    fits = [fit_start(surface.form, POINTS, np.exp(row)) for row in table]
    errors = [
        predict(surface.form, fit, POINTS) / np.exp(row) - 1
        for fit, row in zip(fits, table, strict=True)
    ]
    assert surface.residual == pytest.approx(np.sqrt(np.mean(np.square(errors))))


THREE = [Point(64, 32), Point(64, 128), Point(256, 32)]


def test_three_points_tell_three_coefficients() -> None:
    found = fit_starts(THREE, np.log([[20.0, 22.0, 21.0]]))
    assert found is not None
    form, (fit,) = found
    assert (form, fit.squares) == ("sum", pytest.approx(0.0, abs=1e-20))
    assert fit_starts(THREE, np.zeros((0, 3))) is None
    assert fit_starts(THREE[:2], np.zeros((1, 2))) is None


# Twice the log likelihood's gain has to exceed 3.84, the 95 % point of chi-squared with one degree.
@pytest.mark.parametrize(
    ("of_sum", "of_max", "form"),
    [
        (np.exp(3.85 / 6), 1.0, "max"),
        (np.exp(3.83 / 6), 1.0, "sum"),
        (1.0, 1.0, "sum"),
        (1.0, 2.0, "sum"),
        # A residual of a millionth is as good as none.
        (1e-12, 0.0, "sum"),
        (1e-10, 0.0, "max"),
    ],
)
def test_which_form_fits_better(monkeypatch, of_sum, of_max, form) -> None:
    """Two launches at three points; the squares are shared by both."""

    def fit(of, points, ttft_ms, *, terms, sizes):
        assert (list(points), terms, sizes) == (THREE, (), Sizes())
        return Fit(ttft_ms[0], 0.0, 0.0, {"sum": of_sum, "max": of_max}[of] / 2)

    monkeypatch.setattr("append_prefill.analysis.surface.fit_start", fit)
    found = fit_starts(THREE, np.log([[20.0] * 3, [30.0] * 3]))
    assert found is not None
    assert found[0] == form
    assert [fit.floor for fit in found[1]] == pytest.approx([20.0, 30.0])


CHUNK = 512
LONG = [
    *(Point(256, m) for m in (64, 256, 500, 512, 528, 1024, 1040, 1536, 1552, 3072, 3088)),
    *(Point(context, m) for context in (16, 1024, 4096) for m in (64, 512, 528)),
    Point(8192, 64),
    Point(8192, 2000),
]
LONG_M = np.array([float(p.append_tokens) for p in LONG])
LONG_L = np.array([float(p.context_tokens) for p in LONG])
OF_FORM = {
    "sum": 20 + 0.01 * LONG_M + 0.001 * LONG_L,
    "max": np.maximum(20, 0.03 * LONG_M) + 0.001 * LONG_L,
}


def launches(truth, *, sizes, noise=0.01, seed=4, count=5):
    rng = np.random.default_rng(seed)
    log_ms = np.log(truth) + noise * rng.normal(size=(count, 1))
    log_ms = log_ms + noise * rng.normal(size=(count, len(LONG)))
    told = {"chunked_prefill_tokens": sizes.chunk_tokens}
    buckets = None if sizes.bucket_tokens is None else list(sizes.bucket_tokens)
    return [
        one.model_copy(update={"subject": told, "prefill_graph_tokens": buckets})
        for one in starts_of(log_ms, LONG)
    ]


@pytest.mark.parametrize("form", ["sum", "max"])
def test_a_planted_chunk_step_comes_back(form):
    sizes = Sizes(CHUNK, ())
    truth = OF_FORM[form] + 2.5 * further_chunks(LONG_M, CHUNK)
    surface = fit_surface(launches(truth, sizes=sizes))
    assert surface is not None
    assert surface.form == form
    assert surface.chunk_ms.low < 2.5 < surface.chunk_ms.high
    assert surface.chunk_ms.high - surface.chunk_ms.low < 2.5
    told = surface.steps["chunk"]
    assert (told.code, told.tokens) == ("fitted", CHUNK)
    assert told.gain > told.needed == pytest.approx(11.07, abs=0.01)
    # The new tokens of a chunk step count as well: 20 = 0.01 m + 2.5 k, 20 = 0.03 m + 2.5 k.
    assert surface.crossover_tokens.value == pytest.approx(
        {"sum": 1536, "max": 2e4 / 30 - 2.5 / 0.03}[form], rel=0.05
    )
    assert (surface.padded_token_us, surface.attention_ns) == (None, None)


@pytest.mark.parametrize("form", ["sum", "max"])
def test_without_a_step_there_is_none(form):
    surface = fit_surface(launches(OF_FORM[form], sizes=Sizes(CHUNK, ())))
    assert surface is not None
    assert (surface.form, surface.chunk_ms) == (form, None)
    assert surface.steps["chunk"].code == "not-needed"
    assert surface.steps["chunk"].gain < surface.steps["chunk"].needed


def test_a_bend_is_not_a_chunk_step():
    """TTFT that grows faster from a point within a chunk on asks for a step where it is not."""
    truth = 20 + 0.01 * np.maximum(LONG_M - 600, 0) + 0.001 * LONG_L
    surface = fit_surface(launches(truth, sizes=Sizes(CHUNK, ()), noise=0.003))
    assert surface is not None
    assert surface.chunk_ms is None
    assert surface.steps["chunk"].code in {"bend", "not-needed"}


def test_a_server_that_does_not_tell_its_sizes_keeps_the_plane():
    truth = OF_FORM["sum"] + 2.5 * further_chunks(LONG_M, CHUNK)
    surface = fit_surface(launches(truth, sizes=Sizes()))
    assert surface is not None
    assert surface.chunk_ms is None
    assert {surface.steps[term].code for term in ("chunk", "padding")} == {"not-told"}


def test_planted_padding_comes_back():
    sizes = Sizes(CHUNK, graph_buckets(CHUNK))
    # m = 500, the 16 tokens beyond an edge (none), and 2,000 in its last chunk: too few to tell.
    assert set(padding(LONG_M, sizes)) == {0.0, 12.0, 16.0}
    coarse = Sizes(CHUNK, (256, 512))
    truth = 20 + 0.02 * (LONG_M + padding(LONG_M, coarse)) + 0.001 * LONG_L
    surface = fit_surface(launches(truth, sizes=coarse))
    assert surface is not None
    assert surface.steps["padding"].code == "fitted"
    assert surface.padded_token_us.low < 20 < surface.padded_token_us.high
    off = fit_surface(launches(truth, sizes=Sizes(CHUNK, ())))
    assert off is not None
    assert (off.padded_token_us, off.steps["padding"].code) == (None, "off")


FIVE = [Point(64, 100), Point(64, 512), Point(64, 520), Point(9000, 512), Point(9000, 300)]
FIVE_M = np.array([float(p.append_tokens) for p in FIVE])
FIVE_MS = 20 + 0.01 * FIVE_M + 0.001 * np.array([float(p.context_tokens) for p in FIVE])


def test_a_term_takes_a_point_more_than_there_are_coefficients():
    sizes = Sizes(CHUNK, (256, 512))
    assert _identified(FIVE[:4], sizes, ())
    assert not _identified(FIVE[:4], sizes, ("chunk",))
    assert _identified(FIVE, sizes, ("chunk",))
    assert _identified(FIVE, sizes, ("padding",))
    assert not _identified(FIVE, sizes, ("chunk", "padding"))


def test_launches_without_a_point_in_common_have_no_surface():
    apart = np.log([[20.0, np.nan], [np.nan, 21.0]])
    assert fit_surface(starts_of(apart, FIVE[:2])) is None
    assert choose([], np.zeros((2, 0))) is None


def test_a_long_context_makes_no_column_too_small_to_tell():
    """The square of 10^8 tokens is 10^16 ones, more than a float tells apart."""
    points = [Point(k * 10**8, m) for k in (1, 2, 3) for m in (100, 200)]
    assert _identified(points, Sizes(CHUNK, ()), ("attention_of_all",))


def test_terms_that_points_cannot_tell_together_are_tried_alone():
    sizes = Sizes(CHUNK, (256, 512))
    plain = choose(FIVE, np.log([FIVE_MS]), sizes)
    assert {term: step.code for term, step in plain.steps.items()} == dict.fromkeys(
        ("chunk", "padding", "attention", "attention_of_all"), "not-needed"
    )
    # Beside the chunk step that is there no point is left for another term.
    stepped = choose(FIVE, np.log([FIVE_MS + 2.5 * further_chunks(FIVE_M, CHUNK)]), sizes)
    assert {term: step.code for term, step in stepped.steps.items()} == {"chunk": "fitted"}


def test_a_step_that_no_edge_shows_is_a_bend(monkeypatch):
    """The best of what is left is taken then, with its form."""
    monkeypatch.setattr("append_prefill.analysis.surface._rises_ms", lambda *_: np.zeros(1))
    truth = OF_FORM["sum"] + 2.5 * further_chunks(LONG_M, CHUNK)
    found = choose(LONG, np.log(truth)[None], Sizes(CHUNK, ()))
    assert found.steps["chunk"] == Step(code="bend", tokens=CHUNK)
    assert found.form == "sum"
    assert found.fits[0].of("chunk") == 0.0


def test_what_hides_behind_the_floor_is_padded_there_too():
    """Padding counts as new tokens do: of m = 500, below the floor, its 12 are not seen."""
    coarse = Sizes(CHUNK, (256, 512))
    padded = padding(LONG_M, coarse)
    truth = np.maximum(20, 0.03 * (LONG_M + padded)) + 0.001 * LONG_L
    fit = fit_start("max", LONG, truth, terms=("padding",), sizes=coarse)
    assert (fit.floor, fit.new, fit.cached, fit.of("padding")) == pytest.approx(
        (20, 0.03, 0.001, 0.03), rel=1e-6
    )
    assert fit.squares == pytest.approx(0.0, abs=1e-18)


def test_exact_terms_are_told_in_their_units():
    coarse = Sizes(CHUNK, (256, 512))
    padded = 20 + 0.02 * (LONG_M + padding(LONG_M, coarse)) + 0.001 * LONG_L
    surface = fit_surface(launches(padded, sizes=coarse, noise=0.0))
    assert surface is not None
    assert surface.padded_token_us.value == pytest.approx(20, rel=1e-8)
    attending = OF_FORM["sum"] + 4e-6 * attended(LONG_M, LONG_L)
    surface = fit_surface(launches(attending, sizes=Sizes(CHUNK, ()), noise=0.0))
    assert surface is not None
    assert surface.attention_ns.value == pytest.approx(4, rel=1e-8)


def test_planted_attention_comes_back_and_a_step_beside_it():
    truth = OF_FORM["sum"] + 2.5 * further_chunks(LONG_M, CHUNK) + 4e-6 * attended(LONG_M, LONG_L)
    surface = fit_surface(launches(truth, sizes=Sizes(CHUNK, ())))
    assert surface is not None
    assert surface.steps["attention"].code == "fitted"
    assert surface.steps["attention_of_all"].code == "not-needed"
    assert surface.attention_ns.low < 4 < surface.attention_ns.high
    assert surface.chunk_ms.low < 2.5 < surface.chunk_ms.high


@pytest.mark.parametrize("form", ["sum", "max"])
def test_a_chosen_fit_predicts_its_launch(form):
    truth = OF_FORM[form] + 2.5 * further_chunks(LONG_M, CHUNK)
    found = choose(LONG, np.log(truth)[None], Sizes(CHUNK, ()))
    assert found is not None
    np.testing.assert_allclose(predict(found.form, found.fits[0], LONG), truth, rtol=1e-6)
    assert found.fits[0].of("chunk") == pytest.approx(2.5)
    assert found.fits[0].of("padding") == 0.0


def test_all_launches_are_fitted_as_was_chosen_for_their_servers_sizes():
    log_ms = np.log(OF_FORM["sum"] + 2.5 * further_chunks(LONG_M, CHUNK))[None]
    found = choose(LONG, log_ms, Sizes(CHUNK, ()))
    assert fit_starts(LONG, log_ms, Sizes(CHUNK, ())) == (found.form, found.fits)
    assert found.fits[0].of("chunk") == pytest.approx(2.5)


EDGES = [Point(64, 512), Point(64, 520), Point(4096, 512), Point(4096, 520)]


def test_at_the_edges_of_chunks_quicker_prompts_count_more():
    """Of two launches: 1 ms more from 10 on and 3 less from 100 on; and 2 more in both places.

    The rest of the fit has 0.1 ms of that, of the eight tokens between; its step counts for none.
    """
    log_ms = np.log([[10.0, 11.0, 100.0, 97.0], [10.0, 12.0, 100.0, 102.0]])
    fit = Fit(0.0, 0.1 / 8, 0.0, 0.0, (("chunk", 1.0),), Sizes(512, ()))
    quick, slow = 1 / (10**2 + 11**2), 1 / (100**2 + 97**2)
    first = (0.9 * quick - 3.1 * slow) / (quick + slow)
    assert _rises_ms("sum", EDGES, log_ms, [fit, fit]) == pytest.approx([first, 1.9])


@pytest.mark.parametrize(
    ("values", "above"),
    [([0.1], True), ([0.0], False), ([0.0, 0.0], False), ([1.0, 1.1], True), ([1.0, 2.0], False)],
)
def test_what_is_above_0_is_so_by_its_interval(values, above):
    assert _is_above_0(values) == above


@pytest.mark.parametrize(
    ("more", "crossover"),
    [
        ((), 2000.0),
        ((("chunk", 0.0),), 2000.0),
        # 10 ms at m = 1,000 and 12 at 1,024, then a step of 12 over the floor.
        ((("chunk", 12.0),), 1024.0),
        ((("chunk", 4.0),), 1600.0),
        # 0.01 m + 5e-6 m (m + 1) / 2 = 20
        ((("attention", 5e-6),), 1464.0),
    ],
)
def test_at_the_crossover_new_tokens_and_their_steps_cost_the_floor(more, crossover):
    fit = Fit(20.0, 0.01, 0.001, 0.0, more, Sizes(1024, ()))
    assert fit.crossover == pytest.approx(crossover, rel=1e-3)
    below, above = (fit.work_ms(fit.crossover * (1 + e)) for e in (-1e-3, 1e-3))
    assert below < 20.0 < above


@pytest.mark.parametrize("form", ["sum", "max"])
def test_the_crossovers_interval_holds_the_truth_as_often_as_it_says(form):
    """Forty sessions, their launches scattered in floor and cost: 95 % hold it, so 33 at least
    (less than one in a thousand has fewer).
    """
    truth = {"sum": (19.0, 0.004), "max": (19.0, 0.03)}[form]
    rng = np.random.default_rng(11)
    held = 0
    for _ in range(40):
        floor, new = np.exp(0.05 * rng.normal(size=(2, 4, 1))) * np.reshape(truth, (2, 1, 1))
        own = floor + new * M if form == "sum" else np.maximum(floor, new * M)
        noise = 0.003 * rng.normal(size=(4, len(POINTS)))
        surface = fit_surface(starts_of(np.log(own + 0.002 * CONTEXT) + noise))
        assert surface is not None
        held += surface.crossover_tokens.low < truth[0] / truth[1] < surface.crossover_tokens.high
    assert held >= 33


def test_what_a_simulated_server_tells_and_takes_is_found_again():
    """From a server's own words of its sizes and its times, without a clock, to the surface."""
    cost = Cost(
        floor_ms=8.0,
        new_token_us=12.0,
        cached_token_us=2.0,
        form="sum",
        prefill_graph=True,
        chunk_ms=4.0,
        start_sd=0.03,
        within_sd=0.02,
    )
    settings = Settings(chunked_prefill_tokens=CHUNK)
    told = parse_server_info(
        server_info(
            settings,
            host="h",
            port=1,
            start_seed=1,
            prefill_graph=True,
            radix_cache=True,
            version="0.5.23",
        ),
        {},
    )
    # 290, 530 and 1,060 are padded to 320, 544 and 1,072.
    points = [*LONG, Point(256, 290), Point(1024, 290), Point(256, 530), Point(256, 1060)]
    own = []
    for index in range(6):
        draws = Draws(cost, index)
        values = {
            point: [
                cost.ttft_ms(point.append_tokens, point.context_tokens, CHUNK)
                * draws.next(elapsed_s=0, generating=True).prefill
                for _ in range(7)
            ]
            for point in points
        }
        update = {
            "subject": subject_of(told),
            "prefill_graph_tokens": told.prefill_graph_tokens,
        }
        own.append(start(index, values).model_copy(update=update))
    surface = fit_surface(own)
    assert surface is not None
    assert (surface.form, surface.steps["chunk"].code) == ("sum", "fitted")
    assert surface.steps["chunk"].tokens == CHUNK
    for estimate, value in (
        (surface.chunk_ms, 4.0),
        (surface.floor_ms, 8.0),
        (surface.new_token_us, 12.0),
        (surface.cached_token_us, 2.0),
    ):
        assert estimate.value == pytest.approx(value, rel=0.1)
        assert estimate.low < estimate.value < estimate.high
