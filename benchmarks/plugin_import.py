"""What having the suite installed costs every pytest on the machine, in ms.

    python benchmarks/plugin_import.py [REPEATS]

pytest imports the module of the entry point whether a run is asked for or not. Timed is what that
import adds once pytest itself is there, each time in a new interpreter; the modules' byte code is
compiled already, as after any first run. The processor's time is told beside the clock's, which a
busy machine stretches.
"""

import statistics
import subprocess
import sys

_TIMED = """
import time, pytest
began, worked = time.perf_counter(), time.process_time()
import append_prefill.plugin
print((time.perf_counter() - began) * 1e3, (time.process_time() - worked) * 1e3)
"""


def import_ms(repeats: int) -> list[tuple[float, float]]:
    """(clock's, processor's) of each of so many interpreters, after one that is not counted."""
    command = [sys.executable, "-c", _TIMED]
    runs = [
        subprocess.run(command, check=True, capture_output=True, text=True)
        for _ in range(repeats + 1)
    ]
    return [tuple(map(float, run.stdout.split())) for run in runs[1:]]


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    clock, processor = zip(*import_ms(repeats), strict=True)
    print(
        f"import append_prefill.plugin: median of {repeats} {statistics.median(clock):.1f} ms "
        f"({min(clock):.1f} to {max(clock):.1f}), on the processor "
        f"{statistics.median(processor):.1f} ms"
    )


if __name__ == "__main__":
    main()
