"""The page in a real browser: accessible, on one screen, by keyboard and touch, on paper.

Skipped only where no browser is installed; a Chromium or Chrome of the system's is taken.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from append_prefill.report.html import render_html
from tests.report import parts, samples

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
COMPARED = (
    "everywhere",
    "regression",
    "pass",
    "improvement",
    "inconclusive",
    "suspected",
    "turns-slower",
    "replies-lost",
)
OTHERS = ("broken", "not-comparable", "infrastructure", "attached", "many-points")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


Open = Callable[..., Any]


@cache
def page_of(name: str) -> str:
    run, baseline = samples.SAMPLES[name]()
    return render_html(run, profile=parts.profile(), baseline=baseline)


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """A function that opens a sample's page; what the page complains of fails the test."""
    complaints: list[str] = []
    contexts = []

    def open_page(name: str, width: int = 1280, height: int = 800, **options: Any) -> Any:
        file = tmp_path / f"{name}.html"
        file.write_text(page_of(name), encoding="utf-8")
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: _refuse_network(request.url, complaints))
        page.goto(file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def _refuse_network(url: str, complaints: list[str]) -> None:
    if not url.startswith(("file:", "data:", "blob:")):
        complaints.append(f"asked for {url}")


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [
        ("everywhere", 1280, "light"),
        ("everywhere", 1280, "dark"),
        ("everywhere", 400, "light"),
        ("turns-slower", 1280, "dark"),
        *((name, 1280, "light") for name in ("improvement", "inconclusive", "suspected", *OTHERS)),
        ("broken", 1280, "dark"),
        ("infrastructure", 1280, "dark"),
        ("inconclusive", 1280, "dark"),
    ],
)
def test_axe_finds_nothing_serious(opened: Open, name: str, width: int, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = opened(name, width, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    serious = {
        v["id"]: [node["html"][:160] for node in v["nodes"][:3]]
        for v in Axe().run(page).response["violations"]
        if v["impact"] in ("serious", "critical")
    }
    assert serious == {}


@pytest.mark.parametrize("name", COMPARED)
def test_verdict_plane_and_next_command_are_on_one_screen(opened: Open, name: str) -> None:
    page = opened(name)
    for part in (".sentence", "#next-command", ".differences", "#plane .legend", ".exit"):
        box = page.locator(part).bounding_box()
        assert box, part
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= 800, part


@pytest.mark.parametrize(
    "name", ["everywhere", "many-points", "huge-names", "broken", "turns-slower"]
)
def test_a_phone_can_read_it(opened: Open, name: str) -> None:
    page = opened(name, 400)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    sizes = page.evaluate(
        """Array.from(document.querySelectorAll("svg text"))
        .filter(text => text.getBoundingClientRect().width)
        .map(text => parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a
             || parseFloat(getComputedStyle(text).fontSize) * Math.abs(text.getScreenCTM().b))"""
    )
    assert sizes
    assert min(sizes) >= 11


@pytest.mark.parametrize("table", ["Points", "Joint quantities", "Findings"])
def test_every_column_that_decides_fits_a_phone(opened: Open, table: str) -> None:
    page = opened("everywhere", 400)
    holder = page.locator(f'.scroll[aria-label="{table}"]')
    assert holder.evaluate("box => box.scrollWidth - box.clientWidth") <= 0


def test_the_keyboard_walks_from_point_to_point(opened: Open) -> None:
    page = opened("everywhere")
    tip = page.locator("#tip")
    assert tip.is_hidden()
    page.locator("svg.plane.wide").focus()
    said = []
    for _ in range(3):
        page.keyboard.press("ArrowRight")
        said.append(tip.text_content())
    assert len({*said}) == 3
    assert all(re.match(r"L\s=\s\d+, m\s=\s\d+: [+\u2212]", text) for text in said)
    page.keyboard.press("ArrowLeft")
    assert tip.text_content() == said[1]
    page.keyboard.press("Escape")
    assert tip.is_hidden()
    page.locator("#points thead button").first.focus()
    assert tip.text_content() == "context tokens in the cache"


def test_the_keyboard_walks_along_the_turns(opened: Open) -> None:
    page = opened("turns-slower")
    page.locator("#traffic svg.chart").first.focus()
    said = []
    for _ in range(5):
        page.keyboard.press("ArrowRight")
        said.append(page.locator("#tip").text_content())
    assert len({*said}) == 5
    assert all(re.match(r"(candidate|reference), turn [2-6]: ", text) for text in said)


def test_a_finger_reads_a_point(opened: Open) -> None:
    page = opened("everywhere", 400, has_touch=True)
    point = page.locator("svg.plane.narrow .hit").nth(4)
    point.scroll_into_view_if_needed()
    at = point.bounding_box()
    page.touchscreen.tap(at["x"] + at["width"] / 2, at["y"] + at["height"] / 2)
    assert page.locator("#tip").is_visible()
    box = page.locator("#tip").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 400
    page.locator("h1").tap()
    assert page.locator("#tip").is_hidden()


def test_the_command_is_copied(opened: Open) -> None:
    page = opened("everywhere", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").click()
    command = page.locator("#next-command").text_content()
    page.get_by_text("Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == command


def test_the_table_is_sorted_and_saved(opened: Open) -> None:
    page = opened("everywhere")
    first = page.locator("#points table.sortable tbody tr").first.locator("td").first
    heading = page.locator("#points thead button").first
    heading.click()
    largest = first.text_content()
    heading.click()
    assert (largest, first.text_content()) == ("2048", "64")
    with page.expect_download() as download:
        page.get_by_role("link", name="Save as CSV").click()
    assert download.value.suggested_filename == "append-prefill-points.csv"
    lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("context_tokens,append_tokens,reference_ms")
    assert len(lines) == 1 + 20


@pytest.mark.parametrize("name", ["everywhere", "regression", "pass", "broken", "turns-slower"])
def test_it_prints_on_four_pages_at_most(opened: Open, name: str) -> None:
    page = opened(name)
    paper = page.pdf(format="A4", print_background=True)
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", paper)) <= 4
