"""Every fault of the table put into a run of simulated servers, and what came of it.

    python -m benchmarks.faults
    python -m benchmarks.faults --only SIGTERM

A row a fault: what is put in, the line that tells it, exit status, seconds until the run has
ended, launches kept whole, the record's verdict, processes left. Exit status 1 if one did not end
as it has to; what is wrong with it stands below its row.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.faults.rows import ROWS, Row
from benchmarks.faults.strike import Seen, strike

_LINE_CHARACTERS = 80


def struck(row: Row) -> Seen:
    """What comes of a row's fault, in a folder of its own."""
    with TemporaryDirectory() as folder:
        return strike(row, Path(folder))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="rows that have it in their name"
    )
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="rows at a time (default: 1)"
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="of what a row may take: a machine that others use takes longer (default: 1)",
    )
    args = parser.parse_args()
    survived = left = secrets = 0
    rows = [row for row in ROWS if args.only in row.name]
    print("| fault | first line | exit | s | launches whole | verdict | processes left |")
    print("|---|---|---|---|---|---|---|")
    with ThreadPoolExecutor(args.jobs) as pool:
        for row, seen in zip(rows, pool.map(struck, rows), strict=True):
            first = (seen.first or "none")[:_LINE_CHARACTERS].replace("|", "\\|")
            print(
                f"| {row.name} | {first} | {seen.status} | {seen.seconds:.1f} | {seen.whole} | "
                f"{seen.verdict or 'no record'} | {seen.left} |",
                flush=True,
            )
            left += seen.left
            secrets += seen.secrets
            wrong = seen.faults(row, args.patience)
            survived += not wrong
            for words in wrong:
                print(f"  {row.name}: {words}", file=sys.stderr, flush=True)
    print(f"\nsurvived / tried: {survived} / {len(rows)}")
    print(f"processes left: {left}; texts with a secret: {secrets}")
    return int(survived < len(rows))


if __name__ == "__main__":
    sys.exit(main())
