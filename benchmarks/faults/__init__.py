"""Faults that are put into a run, and what comes of each."""
