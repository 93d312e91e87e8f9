"""Measure, judge and report the append-prefill TTFT of SGLang servers."""

__version__ = "0.1.0"
