"""The pictures of reports in docs/pictures, taken anew from the committed samples.

    python ci/report_pictures.py [--browser PATH]

Needs a Chromium or Chrome; nothing else of the suite does. Each picture is a sample report with
all sections but some hidden, as wide as a laptop's window, so what is seen is what a reader of
that report sees. Run it when the report's style or the samples change, and look at the outcome.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "docs" / "pictures"
LARGEST_BYTES = 200_000  # of one picture: a page with five of them still loads at once
WIDTH_PX = 1280
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True, slots=True)
class Picture:
    """`sections`: ids that stay visible, or `first`, the first screen. What is below `height_px`,
    the window's height, is cut.
    """

    name: str
    report: str
    sections: tuple[str, ...]
    height_px: int
    dark: bool = False


PICTURES = (
    Picture("report-sample", "sample", ("first",), 620),
    Picture("report-verdict-dark", "sample", ("first",), 620, dark=True),
    Picture("report-findings", "sample", ("findings",), 390),
    Picture("report-charts", "sample", ("charts",), 925),
    Picture("report-points", "sample", ("points",), 560),
    Picture("report-joint", "sample", ("joint",), 290),
    Picture("report-h200", "sample-h200-graphs", ("first",), 680),
)


def page_of(picture: Picture) -> str:
    """The report's HTML with one more style: only the picture's sections are shown."""
    page = (ROOT / "reports" / picture.report / "report.html").read_text(encoding="utf-8")
    hidden = "main > section, main > .notes, footer"
    if "first" not in picture.sections:
        hidden += ", header.page, main > .first"
    shown = ", ".join(f"main > #{name}" for name in picture.sections)
    style = f"<style>{hidden} {{display: none}} {shown} {{display: block}}"
    style += "main > section {margin-top: 14px}</style></head>"
    if "</head>" not in page:
        raise SystemExit(f"{picture.report}: the report has no </head> to put a style before")
    return page.replace("</head>", style, 1)


def take(picture: Picture, browser: str, folder: Path) -> Path:
    """Photograph one picture into OUT. Exits if the browser makes none, or too large a one."""
    page = folder / f"{picture.name}.html"
    page.write_text(page_of(picture), encoding="utf-8")
    target = OUT / f"{picture.name}.png"
    command = [
        *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
        *(f"--user-data-dir={folder / 'browser'}", f"--screenshot={target}"),
        f"--window-size={WIDTH_PX},{picture.height_px}",
        # 0 is dark, 1 light: Blink's enumeration of prefers-color-scheme.
        f"--blink-settings=preferredColorScheme={0 if picture.dark else 1}",
        page.as_uri(),
    ]
    target.unlink(missing_ok=True)
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode or not target.exists():
        raise SystemExit(f"{picture.name}: no picture was made.\n{done.stderr}")
    size_bytes = target.stat().st_size
    if size_bytes > LARGEST_BYTES:
        raise SystemExit(f"{target.name} takes {size_bytes} bytes, above {LARGEST_BYTES}")
    print(f"{size_bytes / 1024:6.0f} KiB  {target.relative_to(ROOT)}")
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--browser", help=f"default: the first of {', '.join(BROWSERS)}")
    browser = parser.parse_args().browser or next(filter(shutil.which, BROWSERS), None)
    if browser is None:
        raise SystemExit(f"none of {', '.join(BROWSERS)} is on PATH: name one with --browser")
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for picture in PICTURES:
            take(picture, browser, Path(folder))


if __name__ == "__main__":
    main()
