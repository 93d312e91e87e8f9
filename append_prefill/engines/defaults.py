"""What an installed SGLang does unless it is told: read off its files, without importing it.

Environment variables are declared in `srt/environ.py` (`NAME = EnvBool(True)` in the class `Envs`),
or read where they are needed with a default beside the name (`os.environ.get("NAME", "0")`), server
arguments as annotated fields of classes in `srt/server_args.py` and, where that is a package
of namespaces, `srt/arg_groups/fields/`. A version that declares them elsewhere has none here.
"""

from __future__ import annotations

import ast
import json
import operator
import os
import re
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from append_prefill.errors import InfrastructureError

Literal = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Reckoned:
    """A default that is reckoned when a server is launched; `text` is how it is written."""

    text: str

    def __str__(self) -> str:
        return self.text


Default = Literal | Reckoned

_VARIABLES = ("srt/environ.py",)
# Of two thousand files (eight megabytes) some hundred read a variable: parsing all of them takes
# ten seconds and more, and this half a second.
_READ = re.compile(
    r"""\b(environ\.get|getenv|get_bool_env_var|get_int_env_var)\(\s*"([A-Z][A-Z0-9_]*)"\s*"""
    r"""(?:,\s*(?:default\s*=\s*)?"""
    r"""("[^"\\\n]*"|-?(?:0|[1-9]\d*)(?:\.\d+)?|True|False|None)\s*)?,?\s*\)"""
)
_UNSAID: Mapping[str, Literal] = {"get_bool_env_var": "false", "get_int_env_var": 0}
_TRUE = ("true", "1")
_ARITHMETIC: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
}
_ARGUMENTS = ("srt/server_args.py", "srt/arg_groups/fields/*.py")
_LIMIT_S = 60.0
# Metadata only: importing SGLang takes seconds, and a GPU.
_QUERY = """
import importlib.metadata as metadata, importlib.util as util, json, sys
spec = util.find_spec("sglang")
# Of two with one name the first is imported.
held = {d.metadata["Name"]: d for d in reversed(list(metadata.distributions()))}
print(json.dumps({
    "folder": spec.submodule_search_locations[0] if spec else None,
    "packages": {name: d.version for name, d in held.items()},
    "requires": {name: d.requires or [] for name, d in held.items()},
    "prefix": sys.prefix,
}))
"""


@dataclass(frozen=True, slots=True)
class Defaults:
    """`variables`: the default of each. `formerly`: what a variable was called before, by its name.

    `arguments`: the names of the server arguments' fields, True where one is a switch. `packages`:
    versions by name, `requires`: what each asks for (PEP 508). `prefix`: the environment's folder,
    None where that is not known.
    """

    variables: Mapping[str, Default]
    arguments: Mapping[str, bool]
    packages: Mapping[str, str]
    formerly: Mapping[str, str] = field(default_factory=dict)
    requires: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    prefix: Path | None = None


def defaults_of(python: Path) -> Defaults:
    """Those of the SGLang in an interpreter. Raises InfrastructureError if that does not answer."""
    said = _asked(python)
    folder = None if said["folder"] is None else Path(said["folder"])
    declared = dict(_declared_in(folder))
    return Defaults(
        variables=_read_in(folder) | {name: default for name, (default, _) in declared.items()},
        formerly={name: before for name, (_, before) in declared.items() if before is not None},
        arguments=dict(_arguments(folder)),
        packages={canonicalize_name(name): v for name, v in said["packages"].items()},
        requires={canonicalize_name(name): tuple(r) for name, r in said["requires"].items()},
        prefix=Path(said["prefix"]),
    )


def packages_of(python: Path) -> dict[str, str]:
    """The versions that an interpreter has, by name. Raises InfrastructureError as above."""
    return {canonicalize_name(name): v for name, v in _asked(python)["packages"].items()}


def _asked(python: Path) -> dict[str, Any]:
    try:
        answer = subprocess.run(
            [str(python), "-c", _QUERY],
            capture_output=True,
            text=True,
            check=True,
            timeout=_LIMIT_S,
            cwd=tempfile.gettempdir(),  # not where a folder `sglang` may lie
            env=os.environ,
        )
        said: dict[str, Any] = json.loads(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise InfrastructureError(f"{python} does not say what is in it ({error})") from error
    return said


def _declared_in(folder: Path | None) -> Iterator[tuple[str, tuple[Default, str | None]]]:
    """Each variable's default, and what it was called before."""
    for tree in _trees(folder, _VARIABLES):
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.name == "Envs":
                for line in node.body:
                    yield from _declared(line)


def _declared(line: ast.stmt) -> Iterator[tuple[str, tuple[Default, str | None]]]:
    """`NAME = EnvBool(True)`, `NAME = EnvBoolWithAlias(True, deprecated_name="BEFORE")`."""
    match line:
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(args=args, keywords=words)):
            named = {word.arg: word.value for word in words}
            default = args[0] if args else named.get("default")
            alias = named.get("deprecated_name")
            before = alias.value if isinstance(alias, ast.Constant) else None
            if default is not None:
                yield name, (_default(default), before if isinstance(before, str) else None)


def _default(node: ast.expr) -> Default:
    """The value that is written, sums and products reckoned."""
    try:
        value = _value(node)
    except ValueError:
        return Reckoned(ast.unparse(node))
    return value


def _value(node: ast.expr) -> Literal:
    """Raises ValueError for what is no plain value."""
    match node:
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            one, other = _value(left), _value(right)
            if isinstance(one, (int, float)) and isinstance(other, (int, float)):
                return _ARITHMETIC[type(op)](one, other)
    value = ast.literal_eval(node)
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise ValueError("no plain value")


def _read_in(folder: Path | None) -> dict[str, Default]:
    """Variables that are read where they are needed, each with the default that stands there.

    One that is read with several defaults is left out: which of them counts is not known.
    """
    found: defaultdict[str, set[Literal]] = defaultdict(set)
    for file in sorted((folder / "srt").rglob("*.py")) if folder is not None else ():
        for reader, name, text in _READ.findall(file.read_text(encoding="utf-8", errors="replace")):
            value: Literal = ast.literal_eval(text) if text else _UNSAID.get(reader)
            if reader == "get_bool_env_var":
                value = str(value).lower() in _TRUE
            found[name].add(value)
    return {name: next(iter(values)) for name, values in found.items() if len(values) == 1}


def _arguments(folder: Path | None) -> Iterator[tuple[str, bool]]:
    for tree in _trees(folder, _ARGUMENTS):
        for node in ast.walk(tree):
            for line in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                    yield line.target.id, _is_switch(line.annotation)


def _is_switch(annotation: ast.expr) -> bool:
    """Whether it is `bool`, or `A[bool, ...]`; an optional one takes a value."""
    if isinstance(annotation, ast.Subscript) and isinstance(annotation.slice, ast.Tuple):
        annotation = annotation.slice.elts[0]
    return isinstance(annotation, ast.Name) and annotation.id == "bool"


def _trees(folder: Path | None, patterns: tuple[str, ...]) -> Iterator[ast.Module]:
    for pattern in patterns if folder is not None else ():
        for file in sorted(folder.glob(pattern) if folder is not None else ()):
            try:
                yield ast.parse(file.read_text(encoding="utf-8"))
            except (OSError, ValueError, SyntaxError):
                continue  # a file that a newer Python wrote is one whose defaults are not known
