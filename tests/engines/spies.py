"""A program in place of py-spy: it says what py-spy says and writes what it is told to."""

from __future__ import annotations

import sys
from pathlib import Path

_SPY = """#!{python}
import pathlib, signal, sys
if "--version" in sys.argv:
    print("py-spy 0.0")
    raise SystemExit
if {refuses!r}:
    print({refuses!r})
    raise SystemExit(1)
signal.signal(signal.SIGINT, lambda *_: None)
print(*sys.argv)
print("py-spy> Sampling process. Press Control-C to exit.", flush=True)
signal.pause()
while not {ends!r}:
    signal.pause()
pathlib.Path(sys.argv[sys.argv.index("--output") + 1]).write_text({text!r})
print("py-spy> Wrote raw flamegraph data. Samples: 9 Errors: {errors}")
"""


def spy(folder: Path, text: str, *, errors: int = 0, refuses: str = "", ends: bool = True) -> str:
    """Its path; `text` is every recording, `refuses` why it does not attach. Ends if told to."""
    path = folder / "py-spy"
    made = _SPY.format(python=sys.executable, text=text, errors=errors, refuses=refuses, ends=ends)
    path.write_text(made, encoding="utf-8")
    path.chmod(0o755)
    return str(path)
