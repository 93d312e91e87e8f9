"""Gives pytest the suite's options, fixtures and hooks in this repository."""

pytest_plugins = ("append_prefill.plugin", "pytester")
