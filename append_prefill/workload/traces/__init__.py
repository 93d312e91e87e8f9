"""Traces: conversations as users sent them, out of a file or drawn from a published shape."""
