"""The documentation keeps to what is there: links, options, commands, names, pictures, length."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from append_prefill.cli.main import main
from append_prefill.cli.main import parser as command_line
from append_prefill.plugin.options import add_options
from append_prefill.records.store import read_run
from tests.test_words import house_words_in

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")])
REFERENCE = (DOCS / "reference.md").read_text(encoding="utf-8")

README_WORDS_MAX = 700
PICTURE_BYTES_MAX = 200_000

# Options of programs that are not ours; each is named in the documentation somewhere.
FOREIGN = {
    "--cap-add",  # docker run
    "--nonblocking",  # py-spy
    "--pyargs",
    "--benchmark-compare-fail",  # pytest-benchmark
    "--dist",  # pytest-xdist
    "--tx",
    "--max-total-tokens",  # sglang.launch_server
    "--mamba-radix-cache-strategy",
    "--disable-overlap-schedule",
    "--sleep-on-idle",
    "--chunked-prefill-size",
    "--flag",  # stands for any option of sglang.launch_server
    "--option",  # stands for any option of pytest
    "--rm",  # docker run
    "--gpus",
    "--shm-size",
    "--paginate",  # gh api
    "--jq",
    "--help",
    "--version",
}


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def without_code(text: str) -> str:
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`]*`", "", text)


def options_in(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w/-])--[a-z][a-z0-9-]*", text))


def anchors_of(page: Path) -> set[str]:
    """Ids that a heading gets on the site and, for these plain headings, on a forge too."""
    headings = re.findall(r"^#+ (.+)$", without_fences(text_of(page)), flags=re.MULTILINE)
    return {
        re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.lower())).strip("-")
        for heading in headings
    }


def without_fences(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def pytest_options() -> set[str]:
    found: set[str] = set()

    class Group:
        def addoption(self, *names: str, **_: object) -> None:
            found.update(names)

    class Parser:
        def getgroup(self, *_: str) -> Group:
            return Group()

    add_options(Parser())  # type: ignore[arg-type]
    return found


def commands(
    parser: argparse.ArgumentParser, name: str = "append-prefill"
) -> Iterator[tuple[str, set[str]]]:
    """Every command without further subcommands, and its own options."""
    nested = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    for action in nested:
        for sub, of_it in action.choices.items():
            yield from commands(of_it, f"{name} {sub}")
    if not nested:
        own = {o for a in parser._actions for o in a.option_strings if o.startswith("--")}
        yield name, own - {"--help"}


def section_of(command: str) -> str:
    """The part of the reference whose heading begins with the command."""
    found = re.search(
        rf"^### {re.escape(command)}\b.*?(?=^##|\Z)", REFERENCE, re.MULTILINE | re.DOTALL
    )
    assert found, f"docs/reference.md has no section on {command}"
    return found.group(0)


COMMANDS = dict(commands(command_line()))


def test_readme_is_short():
    words = len(text_of(ROOT / "README.md").split())
    assert words <= README_WORDS_MAX


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", without_fences(text_of(page)))
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name_of(page)} links to {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors_of(target), f"{name_of(page)} links to {link}"


def test_every_page_is_reached_from_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    listed = set(re.findall(r"[\w/-]+\.md", navigation))
    assert listed == {str(p.relative_to(DOCS)) for p in DOCS.rglob("*.md")}


def test_pictures_are_small_and_used():
    whole = "".join(text_of(page) for page in PAGES)
    pictures = sorted((DOCS / "pictures").iterdir())
    assert pictures
    for picture in pictures:
        assert picture.stat().st_size <= PICTURE_BYTES_MAX, picture.name
        assert f"pictures/{picture.name}" in whole, f"{picture.name} is in no page"


def test_drawings_carry_both_themes_and_nothing_from_elsewhere():
    for drawing in (DOCS / "pictures").glob("*.svg"):
        text = text_of(drawing)
        assert "prefers-color-scheme: dark" in text, drawing.name
        assert not re.search(r"(href|src)=|url\((?!#)", text), drawing.name


def test_the_reference_has_every_pytest_option_and_no_other():
    section = re.search(
        r"^## pytest -m append_prefill$.*?(?=^## )", REFERENCE, re.MULTILINE | re.DOTALL
    )
    assert section
    # The first cells of the table's rows; the second may name other options.
    rows = re.findall(r"^\| (`--.*?`) \| ", section.group(0).replace(r"\|", "/"), re.MULTILINE)
    assert options_in(" ".join(rows)) == pytest_options()


@pytest.mark.parametrize("command", COMMANDS)
def test_the_reference_has_every_option_of_a_command_and_no_other(command):
    section = re.sub(
        r"`pytest [^`]*`|`--save-baseline`|`--sglang VERSION`|`--against VERSION`",
        "",
        section_of(command),
    )
    if command == "append-prefill run":
        # Its options are the pytest job's, whose table the section points to.
        assert "the\ntable above is its own" in section
        assert COMMANDS[command] == pytest_options()
        return
    assert options_in(section) == COMMANDS[command]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_options_that_are_named_exist(page):
    known = pytest_options() | FOREIGN | set().union(*COMMANDS.values())
    folders = ("append_prefill/engines/kit", "benchmarks", "ci", "tests/matrix")
    programs = [ROOT / folder for folder in folders]
    for program in (module for folder in programs for module in folder.rglob("*.py")):
        declared = re.findall(r'add_?(?:argument|option)\(\s*"(--[a-z-]+)"', text_of(program))
        known |= set(declared)
    assert not options_in(text_of(page)) - known


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_that_are_named_exist(page):
    # A backslash, a line's end and the folder of a console script do not change a command.
    text = re.sub(r"\\?\s+", " ", text_of(page)).replace(".tox/append_prefill/bin/", "")
    for module in re.findall(r"python -m ((?:benchmarks|append_prefill)[\w.]*)", text):
        spec = importlib.util.find_spec(module)
        assert spec is not None, f"python -m {module}"
        assert '__name__ == "__main__"' in text_of(_main_file(module)), f"python -m {module}"
    for program in re.findall(r"python ((?:benchmarks|ci)/\w+\.py)", text):
        assert (ROOT / program).is_file(), f"python {program}"
    names = [name.removeprefix("append-prefill ") for name in COMMANDS]
    for said in re.findall(r"[`$] ?append-prefill ([a-z][a-z-]*(?: [a-z]+)?)", text):
        first = said.split()[0]
        known = [name for name in names if name.split()[0] == first]
        assert known, f"append-prefill {said}"
        if first == "baselines" and " " in said:
            assert said in known, f"append-prefill {said}"


def _main_file(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__main__.py" if path.is_dir() else path.with_suffix(".py")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_that_are_named_exist(page):
    rooms = "append_prefill|benchmarks|perf_tests|tests|ci|examples|baselines|reports/sample"
    for name in re.findall(rf"`((?:{rooms})[\w./-]*)`", text_of(page)):
        assert (ROOT / name).exists(), f"{name_of(page)} names {name}"


def test_the_samples_path_is_the_codes():
    text = text_of(ROOT / "CONTRIBUTING.md")
    section = text.partition("## A sample's path")[2].partition("\n## ")[0]
    hops = re.findall(
        r"^\| (\d+) \| `([\w/]+)\.py` \| `(\w+)`.*? \| `?([\w ]+)`? \|$", section, re.MULTILINE
    )
    assert [int(hop) for hop, *_ in hops] == list(range(1, len(hops) + 1))
    assert 0 < len(hops) <= 12
    for _, module, doer, handed in hops:
        loaded = importlib.import_module(f"append_prefill.{module.replace('/', '.')}")
        assert hasattr(loaded, doer), f"{module} has no {doer}"
        # A module hands on a type that it defines or knows; the last one the page.
        assert handed == "the page" or hasattr(loaded, handed), f"{module} knows no {handed}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_prose_uses_the_fields_words(page):
    assert not house_words_in(without_code(text_of(page)))


def test_the_glossary_begins_with_the_two_letters():
    terms = re.findall(r"^\*\*(.+?)\*\*", text_of(DOCS / "glossary.md"), re.MULTILINE)
    assert [term.partition(",")[0] for term in terms[:2]] == ["L", "m"]


def test_what_a_plan_can_tell_on_a_cpu_is_quoted_as_printed(capsys):
    page = text_of(DOCS / "start.md")
    quoted = re.findall(
        r"^  ((?:side by side|against a baseline): (?:over )?\+[\d.]+ %)$", page, re.MULTILINE
    )
    assert len(quoted) == 2
    main(["plan", "--profile", "cpu-nano", "--baselines", str(ROOT / "baselines")])
    printed = capsys.readouterr().out.replace("\N{NO-BREAK SPACE}", " ")
    for line in quoted:
        assert line in printed
        assert line.partition("+")[2] in text_of(ROOT / "README.md")


@pytest.mark.parametrize(
    ("page", "sample", "digits"),
    [("cpu-results", "sample", 0), ("gpu-results", "sample-h200-versions", 1)],
)
def test_results_are_those_of_the_committed_runs(page, sample, digits):
    comparison = read_run(ROOT / "reports" / sample).comparison
    assert comparison is not None
    level = comparison.surface[0]

    def per_cent(ratio: float | None) -> str:
        assert ratio is not None
        return f"{100 * (ratio - 1):+.{digits}f}".replace("-", "\N{MINUS SIGN}")

    named = [p for p in comparison.points if p.verdict == comparison.verdict]
    text = re.sub(r"\s+", " ", text_of(DOCS / f"{page}.md"))
    assert f"{per_cent(level.ratio)} % on the" in text
    assert f"95 % interval {per_cent(level.low)} to {per_cent(level.high)} %" in text
    assert f"at {len(named)} of {len(comparison.points)} points" in text


@pytest.mark.parametrize("sample", sorted(ROOT.glob("reports/sample*")), ids=lambda p: p.name)
def test_the_committed_samples_are_what_the_code_renders(sample, monkeypatch, capsys):
    """Else render them again, all at once: append-prefill report reports/sample*."""
    monkeypatch.chdir(ROOT)
    folder = str(sample.relative_to(ROOT))

    def printed(form: str) -> str:
        assert main(["report", folder, "--format", form, "--out", "-"]) == 0
        return capsys.readouterr().out

    assert printed("html") == text_of(sample / "report.html")
    # What is printed has no page beside it to point at.
    summary, _, pointer = text_of(sample / "summary.md").rpartition("\n\n")
    assert f"{folder}/report.html" in pointer
    assert summary in printed("md")
