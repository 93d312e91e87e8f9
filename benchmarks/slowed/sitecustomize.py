"""Imported by a server's interpreter at its start: makes SGLang's prefill slower, by switch.

Where `$APPEND_PREFILL_SLOW_SWITCH` names a file and its first byte is not 0, the scheduler spends
`$APPEND_PREFILL_SLOW_MS` of CPU time before each prefill batch. SGLang itself is not touched: its
scheduler's class is wrapped as soon as its module has been imported.
"""

import importlib.abc
import importlib.util
import mmap
import os
import sys
import time
from pathlib import Path

_MODULE = "sglang.srt.managers.scheduler"


def _wrap(module):
    with Path(os.environ["APPEND_PREFILL_SLOW_SWITCH"]).open("r+b") as file:
        switch = mmap.mmap(file.fileno(), 1)
    slow_ns = int(float(os.environ["APPEND_PREFILL_SLOW_MS"]) * 1e6)
    run_batch = module.Scheduler.run_batch

    def slowed(self, batch, *args, **kwargs):
        if switch[0] and batch.forward_mode.is_extend():
            limit = time.thread_time_ns() + slow_ns
            while time.thread_time_ns() < limit:
                pass
        return run_batch(self, batch, *args, **kwargs)

    module.Scheduler.run_batch = slowed
    print("append-prefill benchmark: Scheduler.run_batch is wrapped", file=sys.stderr, flush=True)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):  # noqa: ARG002 - as the import system calls it
        if name != _MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            _wrap(module)

        spec.loader.exec_module = exec_module
        return spec


if os.environ.get("APPEND_PREFILL_SLOW_SWITCH"):
    sys.meta_path.insert(0, _Finder())
