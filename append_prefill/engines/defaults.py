"""What an installed SGLang does unless it is told: read off its files, without importing it.

Environment variables are declared in `srt/environ.py` (`NAME = EnvBool(True)` in the class `Envs`),
server arguments as annotated fields of classes in `srt/server_args.py` and, where that is a package
of namespaces, `srt/arg_groups/fields/`. A version that declares them elsewhere has none here.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from append_prefill.errors import InfrastructureError

Literal = str | int | float | bool | None

_VARIABLES = ("srt/environ.py",)
_ARGUMENTS = ("srt/server_args.py", "srt/arg_groups/fields/*.py")
_LIMIT_S = 60.0
# Metadata only: importing SGLang takes seconds, and a GPU.
_QUERY = """
import importlib.metadata as metadata, importlib.util as util, json
spec = util.find_spec("sglang")
print(json.dumps({
    "folder": spec.submodule_search_locations[0] if spec else None,
    "packages": {d.metadata["Name"]: d.version for d in metadata.distributions()},
}))
"""


@dataclass(frozen=True, slots=True)
class Defaults:
    """`variables`: the declared default by name, where it is a plain value. `arguments`: the names
    of the server arguments' fields, True where one is a switch. `packages`: versions by name.
    """

    variables: Mapping[str, Literal]
    arguments: Mapping[str, bool]
    packages: Mapping[str, str]


def defaults_of(python: Path) -> Defaults:
    """Those of the SGLang in an interpreter. Raises InfrastructureError if that does not answer."""
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
        said = json.loads(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise InfrastructureError(f"{python} does not say what is in it ({error})") from error
    folder = None if said["folder"] is None else Path(said["folder"])
    return Defaults(
        variables=dict(_variables(folder)),
        arguments=dict(_arguments(folder)),
        packages={str(name).lower().replace("_", "-"): v for name, v in said["packages"].items()},
    )


def _variables(folder: Path | None) -> Iterator[tuple[str, Literal]]:
    for tree in _trees(folder, _VARIABLES):
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.name == "Envs":
                for line in node.body:
                    yield from _declared(line)


def _declared(line: ast.stmt) -> Iterator[tuple[str, Literal]]:
    """`NAME = EnvBool(True)`; what is reckoned and not written down is left out."""
    match line:
        case ast.Assign(
            targets=[ast.Name(id=name)],
            value=ast.Call(args=[ast.Constant(value=value), *_]),
        ) if value is None or isinstance(value, (str, int, float)):
            yield name, value


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
