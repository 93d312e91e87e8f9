"""What having the suite installed costs every pytest on the machine, in ms.

    python benchmarks/plugin_import.py [REPEATS]

pytest imports the module of the entry point whether a run is asked for or not. Timed is what that
import adds once pytest itself is there, each time in a new interpreter; the modules' byte code is
compiled already, as after any first run.
"""

import statistics
import subprocess
import sys

_TIMED = """
import time, pytest
began = time.perf_counter()
import append_prefill.plugin
print((time.perf_counter() - began) * 1e3)
"""


def import_ms(repeats: int) -> list[float]:
    """One time for each of so many interpreters, after one that is not counted."""
    command = [sys.executable, "-c", _TIMED]
    runs = [
        subprocess.run(command, check=True, capture_output=True, text=True)
        for _ in range(repeats + 1)
    ]
    return [float(run.stdout) for run in runs[1:]]


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    times = import_ms(repeats)
    print(
        f"import append_prefill.plugin: median {statistics.median(times):.1f} ms of {repeats} "
        f"(least {min(times):.1f}, most {max(times):.1f})"
    )


if __name__ == "__main__":
    main()
