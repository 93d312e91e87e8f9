"""The page: complete, self-contained, escaped, valid SVG, for every kind of record."""

from __future__ import annotations

import base64
import csv
import functools
import io
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from itertools import chain
from pathlib import Path

import pytest

from append_prefill.records.grounds import DEVICE_STATE
from append_prefill.records.launch import Void
from append_prefill.records.store import read_run
from append_prefill.report.headline import headline_of
from append_prefill.report.html import render_html
from append_prefill.report.tables import StartRow, is_telling, joint_rows
from append_prefill.report.words import WORDS
from append_prefill.workload.loading import load_profile
from tests.report import parts, samples
from tests.report.other_traffic import AGED, TOGETHER, TURNS, with_traffic
from tests.test_words import house_words_in

VOID_TAGS = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Rows by table, text, attributes of every tag; fails on unbalanced tags.

    `read` is the text that is seen before anything is opened, but for that of drawings, and for
    commands, which are copied.
    """

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.rows: dict[str, int] = {}
        self.text: list[str] = []
        self.read: list[str] = []
        self._open: list[str] = []
        self._closed: list[int] = []
        self._table = ""
        self.feed(source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {key: value or "" for key, value in attrs}
        self.tags.append((tag, found))
        if tag not in VOID_TAGS:
            self._open.append(tag)
        if tag == "table":
            self._table = found["aria-label"]
            self.rows[self._table] = 0
        if tag == "tr" and "tbody" in self._open:
            self.rows[self._table] += 1
        if tag == "details" and "open" not in found:
            self._closed.append(len(self._open))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, tag
        if tag == "details" and self._closed[-1:] == [len(self._open) + 1]:
            self._closed.pop()

    def handle_data(self, data: str) -> None:
        if {"style", "script"} & set(self._open):
            return
        self.text.append(data)
        if (not self._closed or "summary" in self._open) and not {"svg", "pre"} & set(self._open):
            self.read.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


@functools.cache
def page_of(name: str, *, with_profile: bool = True) -> tuple[str, Page]:
    run, baseline = samples.SAMPLES[name]()
    profile = parts.profile() if with_profile else None
    source = render_html(run, profile=profile, baseline=baseline)
    return source, Page(source)


@pytest.fixture(scope="module", params=sorted(samples.SAMPLES))
def rendered(request: pytest.FixtureRequest) -> tuple[str, str, Page]:
    return (request.param, *page_of(request.param))


def test_nothing_is_fetched_from_elsewhere(rendered: tuple[str, str, Page]) -> None:
    _, source, page = rendered
    for tag, attributes in page.tags:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base"}
        assert "src" not in attributes
        assert attributes.get("href", "#").startswith(("#", "data:text/csv;base64,"))
        assert "title" not in attributes, "a native tooltip needs a mouse"
        assert not any(name.startswith("on") for name in attributes)
    style = source[source.index("<style>") : source.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    links = set(re.findall(r"https?://[^\s\"'<]+", source))
    assert links <= {"http://www.w3.org/2000/svg"}


def test_every_chart_is_valid_xml_with_name_and_description(
    rendered: tuple[str, str, Page],
) -> None:
    _, source, _ = rendered
    charts = re.findall(r'<svg class="(?:chart|plane).*?</svg>', source, flags=re.DOTALL)
    for chart in charts:
        root = ET.fromstring(chart)
        names = [child.tag.rpartition("}")[2] for child in root.iter()]
        assert names[1] == "desc"
        assert "title" not in names
        assert root.get("role") == "img"
        assert root.get("tabindex") == "0"
        assert "arrow keys" in (root.get("aria-label") or "")
        assert len(root[0].text or "") > 20
        numbers = re.findall(r"-?\d+\.?\d*(?:e\d+)?", " ".join(root.itertext()))
        assert numbers
        assert "nan" not in chart.lower().replace("finance", "")


def test_ids_are_unique_and_every_anchor_leads_somewhere(rendered: tuple[str, str, Page]) -> None:
    _, _, page = rendered
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    anchors = {a["href"].removeprefix("#") for tag, a in page.tags if tag == "a"}
    anchors = {anchor for anchor in anchors if not anchor.startswith("data:")}
    assert anchors <= set(ids)
    labels = chain.from_iterable(a.get("aria-describedby", "").split() for _, a in page.tags)
    assert set(labels) <= set(ids)


def test_what_is_read_has_no_house_words(rendered: tuple[str, str, Page]) -> None:
    """Of the page as assembled: words that templates and counts put together, tooltips too."""
    _, _, page = rendered
    shown = [a[key] for _, a in page.tags for key in ("data-tip", "aria-label") if key in a]
    assert not house_words_in(" | ".join([page.words, *shown]))


def test_renders_without_a_profile(rendered: tuple[str, str, Page]) -> None:
    name, _, _ = rendered
    _, page = page_of(name, with_profile=False)
    assert page.rows["Identity"] > 0


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("regression", "regression"),
        ("pass", "pass"),
        ("improvement", "improvement"),
        ("inconclusive", "inconclusive"),
        ("not-comparable", "not-comparable"),
        ("infrastructure", "infrastructure"),
        ("broken", "broken"),
        ("unjudged", "not judged"),
    ],
)
def test_the_verdict_comes_first_by_word_tone_and_shape(name: str, verdict: str) -> None:
    source, page = page_of(name)
    assert source.index('id="verdict"') < source.index('id="findings"')
    banner = source[source.index('id="verdict"') : source.index('class="sentence')]
    assert verdict in banner
    assert "<svg" in banner
    tone = WORDS[verdict].tone if verdict in WORDS else "plain"
    assert f'class="verdict {tone}"' in source
    assert verdict in page.words


def test_every_verdict_word_appears_somewhere() -> None:
    seen = " ".join(page_of(name)[1].words for name in samples.SAMPLES)
    for word in {*WORDS} - {"faster with others", "slower with others", "suspect"}:
        assert word in seen, word


def test_the_banner_says_what_how_much_how_sure_and_what_next() -> None:
    source, page = page_of("everywhere")
    run = samples.everywhere()
    assert run.comparison is not None
    banner = source[source.index('id="verdict"') : source.index('id="plane"')]
    assert re.search(r"SGLang 0.5.23 adds <b>2\.\d ms</b> to every append-prefill", banner)
    assert "side by side with 0.5.22, 5 launches each" in banner
    assert "cost per new token unchanged" in banner
    assert "--seed 20261121" in banner
    assert "0.3.20" in banner
    assert "Exit status 1" in banner
    assert "confirmed side by side" in page.words


def test_the_largest_point_is_never_the_headline() -> None:
    run = samples.regression()
    assert run.comparison is not None
    level = run.comparison.level
    assert level is not None
    said = headline_of(run).sentence
    assert f"{((level.ratio or 1) - 1) * 100:.1f}\u00a0% slower than 0.5.22 on the level" in said
    worst = max(run.comparison.points, key=lambda p: p.ratio or 0)
    assert f"{((worst.ratio or 0) - 1) * 100:.1f}" not in said


def test_a_page_of_25_points_is_read_in_three_minutes() -> None:
    """At 300 words a minute: the numbers in tables count, signs do not. Committed samples, too."""
    kept = [read_run(path, option="RUN") for path in sorted(Path("reports").glob("sample*"))]
    for run, profile in (
        (samples.everywhere(25), parts.profile()),
        (with_traffic(samples.everywhere(25), lambda _, __: 1.2), parts.profile()),
        (
            with_traffic(
                samples.everywhere(25),
                lambda _, __: 1.2,
                experiments=(TURNS, TOGETHER, AGED),
            ),
            parts.profile(),
        ),
        *((run, load_profile(run.profile)) for run in kept),
    ):
        page = Page(render_html(run, profile=profile))
        words = [w for w in re.split(r"[ \n]+", " ".join(page.read)) if re.search(r"\w", w)]
        assert len(words) <= 900


def test_what_was_not_compared_is_not_drawn() -> None:
    run = samples.not_comparable()
    with_curve = render_html(run, profile=parts.profile(), baseline=samples.baseline_run())
    assert with_curve == render_html(run, profile=parts.profile())
    suspected = samples.suspected()
    assert render_html(suspected, baseline=samples.baseline_run()) != render_html(suspected)


def test_the_studys_findings_come_after_the_comparison_and_first_without_one() -> None:
    compared, _ = page_of("regression")
    alone, _ = page_of("broken")
    assert compared.index('id="charts"') < compared.index('id="points"')
    assert compared.index('id="points"') < compared.index('id="findings"')
    assert alone.index('id="findings"') < alone.index('id="charts"')


def test_the_table_of_points_can_be_saved() -> None:
    source, _ = page_of("everywhere")
    run = samples.everywhere()
    assert run.comparison is not None
    found = re.search(r'href="data:text/csv;base64,([^"]*)"', source)
    assert found
    rows = list(csv.DictReader(io.StringIO(base64.b64decode(found[1]).decode())))
    assert len(rows) == len(run.comparison.points)
    by_point = {(e.context_tokens, e.append_tokens): e for e in run.comparison.points}
    for row in rows:
        effect = by_point[int(row["context_tokens"]), int(row["append_tokens"])]
        assert float(row["ratio"]) == pytest.approx(effect.ratio, rel=1e-5)
        assert len(row["candidate_launches_ms"].split()) == 5
        assert row["candidate_p99_ms"] == ""  # 50 samples have no hundredth
        assert float(row["candidate_p50_ms"]) < float(row["candidate_p90_ms"])


def test_a_suspicion_is_marked_with_the_command_that_confirms_it() -> None:
    _, page = page_of("suspected")
    assert "not confirmed" in page.words
    assert "append-prefill confirm reports/latest" in page.words


def test_attached_server_is_marked() -> None:
    assert "attached server, its launches not replicated" in page_of("attached")[1].words


def test_a_pass_on_findings_alone_does_not_speak_for_the_comparison() -> None:
    _, page = page_of("against-study")
    assert "not slower" not in page.words
    assert "Against the study's table: inconclusive" in page.words


def test_regime_shift_is_told_apart_from_a_regression() -> None:
    _, page = page_of("regime-shift")
    assert "the near end got faster and the far end not slower" in page.words


def test_a_standing_shift_is_not_told_as_news() -> None:
    run = samples.regime_shift()
    for finding in run.findings:
        finding.standing = finding.verdict == "regime-shift"
    (mark,) = (m for m in headline_of(run).reservations if m.title.startswith("Regime shift"))
    assert mark.title == "Regime shift, standing"
    assert "in the reference as well" in mark.text


def test_infrastructure_shows_the_servers_last_words_and_no_result() -> None:
    _, page = page_of("infrastructure")
    assert "RuntimeError: CUDA error: out of memory <allocator & pool>" in page.words
    assert "No sample was taken." in page.words
    assert "Points" not in page.rows
    assert page.rows["Launches"] == 2


def test_not_comparable_lists_the_fields_with_both_values() -> None:
    _, page = page_of("not-comparable")
    assert page.rows["Differing fields"] == 2
    for text in ("device.driver", "580.95.05", "570.133.20", "device.power_limit_w"):
        assert text in page.words


def test_tables_have_a_row_for_everything_in_the_record() -> None:
    run = samples.regression()
    assert run.comparison is not None
    _, page = page_of("regression")
    assert page.rows["Findings"] + page.rows["Findings without a gate"] == len(run.findings)
    assert page.rows["Points"] == len(run.comparison.points)
    assert page.rows["Surface"] == 4
    assert page.rows["Joint quantities"] == 1  # fits to each side were a second answer
    assert page.rows["Percentiles"] == len(run.comparison.points)
    assert page.rows["Launches"] == len(run.starts)
    assert page.rows["Interim analyses"] == 2
    assert page.rows["Invalid samples"] == 3
    assert page.rows["Invalid blocks"] == 2
    assert page.rows["Superseded comparisons"] == 1
    assert page.rows["Subject"] == len(run.subject)
    assert page.rows["Noise"] == len(run.points)


def test_sixty_points_are_all_there_worst_first() -> None:
    source, page = page_of("many-points")
    assert page.rows["Points"] == 60
    table = source[source.index('aria-label="Points"') :]
    ratios = [float(r) for r in re.findall(r'change" data-sort="([0-9.]+)"><b>', table)]
    flagged = sum(p.verdict == "regression" for p in samples.many_points().comparison.points)
    assert len(ratios) == 60
    assert re.findall(r'class="chip (\w+)"', table)[:flagged] == ["bad"] * flagged
    assert ratios[:flagged] == sorted(ratios[:flagged], reverse=True)
    assert ratios[flagged:60] == sorted(ratios[flagged:60], reverse=True)


def test_hostile_text_is_escaped_everywhere() -> None:
    source, page = page_of("huge-names")
    assert source.count("<script>") == 1
    assert "<script>alert" not in source
    assert '<script>alert("x")</script> & "quoted"' in page.words


def test_missing_numbers_are_dashes_and_the_page_says_what_they_mean() -> None:
    source, page = page_of("attached")
    assert '<span class="missing">–</span>' in source
    assert "“–” is not measured" in page.words


def test_links_the_device_was_seen_to_have_are_shown() -> None:
    run = samples.passing()
    (transfer,) = (f for f in run.findings if f.id == "kv_transfer_time")
    assert "Measured on this device" not in Page(render_html(run)).words
    for name, speed in (("host_to_device", 55.3), ("device_to_host", 55.2), ("on_device", 1896.0)):
        transfer.details |= {f"{name}_gb_per_s": speed, f"{name}_transfer_ms": 134.2 / speed}
    assert "host to device 2.43 ms (55.3 GB/s, pinned memory)" in Page(render_html(run)).words


def test_the_corrected_transfer_figure_is_given() -> None:
    _, page = page_of("regression")
    assert "Refuted as stated:" in page.words
    assert "5.37 ms" in page.words
    assert "0.298 ms" in page.words


def test_differing_subject_fields_are_marked_in_words() -> None:
    source, page = page_of("regression")
    assert page.words.count("≠ differs") == 3
    assert source.count('<tr class="differs">') == 3
    assert page.rows["What differs"] == 3


def _rgb(colour: str) -> list[float]:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]


def contrast(one: str, other: str) -> float:
    """WCAG 2.1 contrast ratio of two #rrggbb colours."""
    lights = sorted(0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in (_rgb(one), _rgb(other)))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def test_colours_meet_wcag_aa_in_both_schemes() -> None:
    source, _ = page_of("regression")
    blocks = re.findall(r":root \{([^}]*--bg:[^}]*)\}", source)
    assert len(blocks) == 2
    for block in blocks:
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        for name in ("ink", "muted", "link", "bad", "better", "reference", "baseline"):
            assert contrast(colours[name], colours["bg"]) >= 4.5, name
        for tone in ("bad", "good", "better", "unsure", "plain", "infra"):
            for ground in ("bg", f"{tone}-bg"):
                assert contrast(colours[tone], colours[ground]) >= 4.5, (tone, ground)
            assert contrast(colours["ink"], colours[f"{tone}-bg"]) >= 7, tone


def test_one_page_stays_small_enough_to_mail() -> None:
    source, _ = page_of("many-points")
    assert len(source.encode()) < 400_000


@pytest.mark.parametrize(
    ("floors_ms", "words"),
    [
        ((0.18, 0.21), "The client adds 0.180 to 0.210 ms"),
        ((-0.0048, 0.003), "The client adds at most 0.00480 ms"),
        ((-0.001, 0.004), "The client adds at most 0.00400 ms"),
        ((None, None), None),
    ],
)
def test_no_client_is_faster_than_none(
    floors_ms: tuple[float | None, ...], words: str | None
) -> None:
    run = samples.passing()
    starts = [
        start.model_copy(update={"client_floor_ms": floor_ms})
        for start, floor_ms in zip(run.starts, floors_ms, strict=False)
    ]
    page = render_html(run.model_copy(update={"starts": starts}))
    assert (words in page) if words else ("The client adds" not in page)


def test_an_end_of_a_single_point_has_the_points_row_and_no_second_one() -> None:
    """It was shown twice, with two intervals and two labels."""
    run = read_run(Path("reports/sample-h200-graphs"), option="RUN")
    assert run.comparison is not None
    names = [row.name for row in joint_rows(run.comparison)]
    assert names == ["Overall level", "At m ≤ 308", "At m ≥ 512"]


def test_launches_are_unfolded_where_samples_were_lost_for_good() -> None:
    (start, *_) = samples.sound(samples.regression()).starts
    series = start.series[0].model_copy(update={"void": []})
    start = start.model_copy(update={"series": [series], "failure": None})
    row = StartRow(start, 1, 0, 0, None)
    assert not is_telling(row)
    series.void.append(Void(reason=DEVICE_STATE, count=3))
    assert not is_telling(row)
    series.void.append(Void(reason="error: HTTP 500", count=1))
    assert is_telling(row)
