"""Measure, judge and report the append-prefill TTFT of SGLang servers."""

from pathlib import Path

__version__ = "0.1.0"

# The wheel has the tests inside the package. A checkout has them beside it, and names them alike
# to `pytest --pyargs append_prefill.perf_tests`.
if not Path(__path__[0], "perf_tests").is_dir():
    __path__.append(str(Path(__file__).parent.parent))
