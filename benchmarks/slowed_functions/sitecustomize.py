"""Imported by a server's interpreter at its start: makes functions of SGLang's slow, by switch.

`$APPEND_PREFILL_SLOWED` names them, `module:Class.function` with commas between places, and `|`
between functions of one place. Those of the n-th spend `$APPEND_PREFILL_SLOWED_MS` of CPU time in
their own first lines while the first byte of the file `$APPEND_PREFILL_SLOWED_SWITCH` is n (from
1); one with `@gpu` behind it starts a kernel that takes as long. SGLang's files are not touched:
the source of a module is changed as it is compiled, so that the time is spent by the function
itself, as it would be by one that somebody made slow, and not by something wrapped around it.
"""

import ast
import importlib.abc
import importlib.machinery
import mmap
import os
import sys
import time
from pathlib import Path

_SPIN = """
if __slowed_switch__[0] == {number}:
    __slowed_until__ = __slowed_clock__() + {ms} * 1e6
    while __slowed_clock__() < __slowed_until__:
        pass
"""

# torch's own kernel that spins for so many cycles; an H100 and an H200 run at 1.98 GHz at most.
_KERNEL = """
if __slowed_switch__[0] == {number}:
    import torch as __slowed_torch__
    __slowed_torch__.cuda._sleep(int({ms} * 1.98e6))
"""
_ON_GPU = "@gpu"


def _slowed(tree, path, number, ms):
    """`tree` with the spin, or the kernel, in front of the body of `Class.function`."""
    what = _KERNEL if path.endswith(_ON_GPU) else _SPIN
    *classes, function = path.removesuffix(_ON_GPU).split(".")
    scope = tree
    for name in classes:
        scope = next(n for n in scope.body if isinstance(n, ast.ClassDef) and n.name == name)
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = next(n for n in scope.body if isinstance(n, kinds) and n.name == function)
    found.body[:0] = ast.parse(what.format(number=number, ms=ms)).body
    return ast.fix_missing_locations(tree)


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, name, path, wanted):
        super().__init__(name, path)
        self._wanted = wanted

    def get_code(self, fullname):
        tree = ast.parse(self.get_source(fullname))
        ms = float(os.environ["APPEND_PREFILL_SLOWED_MS"])
        for number, path in self._wanted:
            tree = _slowed(tree, path, number, ms)
        return compile(tree, self.path, "exec", dont_inherit=True)

    def exec_module(self, module):
        with Path(os.environ["APPEND_PREFILL_SLOWED_SWITCH"]).open("r+b") as file:
            module.__slowed_switch__ = mmap.mmap(file.fileno(), 1)
        module.__slowed_clock__ = time.thread_time_ns
        super().exec_module(module)
        print(f"append-prefill benchmark: slowed {self.name}", file=sys.stderr, flush=True)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, wanted):
        self._wanted = {}
        for number, place in enumerate(wanted.split(","), 1):
            for one in place.split("|"):
                module, _, path = one.partition(":")
                self._wanted.setdefault(module, []).append((number, path))

    def find_spec(self, name, path, target=None):  # noqa: ARG002 - as the import system calls it
        if name not in self._wanted:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        spec.loader = _Loader(name, spec.origin, self._wanted[name])
        return spec


if os.environ.get("APPEND_PREFILL_SLOWED"):
    sys.meta_path.insert(0, _Finder(os.environ["APPEND_PREFILL_SLOWED"]))
