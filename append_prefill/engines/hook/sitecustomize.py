"""First on the path of a server that may be launched ahead: its workers stop at a gate.

Python imports a module of this name whenever it starts, so this one is in every process of the
server. There `$APPEND_PREFILL_GATE_AT` (`module:function`) is wrapped as soon as its module has
been imported: before it does anything, the function makes the file `$APPEND_PREFILL_GATE.reached`
and waits until somebody has the pipe `$APPEND_PREFILL_GATE` open for writing. The server's own code
is not touched. Standard library only, and any Python that an SGLang runs on.
"""

import ctypes
import functools
import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

_GATE = "APPEND_PREFILL_GATE"
_AT = "APPEND_PREFILL_GATE_AT"
_PR_SET_PDEATHSIG = 1


def _gated(function: Callable[..., Any], gate: str) -> Callable[..., Any]:
    # With the function's own name and module: a worker is told what to run by these.
    @functools.wraps(function)
    def wait_first(*args: Any, **kwargs: Any) -> Any:
        # A worker of SGLang's asks to end with its parent as the first thing it does, which it has
        # not come to: without this one that waits would outlive a server that was killed.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.close(os.open(f"{gate}.reached", os.O_CREAT | os.O_WRONLY, 0o600))
        # Takes no CPU time: the kernel wakes whoever opens a pipe when its other end is opened.
        os.close(os.open(gate, os.O_RDONLY))
        return function(*args, **kwargs)

    return wait_first


class _Finder(importlib.abc.MetaPathFinder):
    """Finds one module as Python would have, and wraps one function of it."""

    def __init__(self, at: str, gate: str) -> None:
        self._module, _, self._function = at.partition(":")
        self._gate = gate

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - as the import system calls it
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._module:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            function = getattr(module, self._function, None)
            # Where there is none, nothing stops at the gate, and the suite sees that.
            if function is not None:
                setattr(module, self._function, _gated(function, self._gate))

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _run_the_hidden_one() -> None:
    """The environment's own module of this name, which Python would have imported."""
    here = Path(__file__).resolve().parent
    others = [entry for entry in sys.path if Path(entry).resolve() != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


if os.environ.get(_GATE) and os.environ.get(_AT):
    sys.meta_path.insert(0, _Finder(os.environ[_AT], os.environ[_GATE]))
_run_the_hidden_one()
