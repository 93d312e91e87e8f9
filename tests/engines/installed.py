"""An environment with an SGLang in it that is only its metadata, and a server of the protocol."""

from __future__ import annotations

import json
import sys
import venv
import zipfile
from pathlib import Path
from typing import Any

# What `python -m sglang.launch_server` is there: the simulated server, on the port it is given.
_LAUNCH_SERVER = """
import os, sys
from append_prefill.planted.__main__ import main
port = sys.argv[sys.argv.index("--port") + 1]
options = os.environ.get("SGLANG_SIMULATED", "--floor-ms 3 --new-token-us 1").split()
sys.exit(main(["--port", port, "--sglang-version", "{version}", *options]))
"""


def installed_python(
    folder: Path, version: str, *, direct_url: dict[str, Any] | None = None
) -> Path:
    """Make the environment in `folder`; returns its interpreter."""
    venv.create(folder, with_pip=False, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    metadata = packages / f"sglang-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: sglang\nVersion: {version}\n")
    if direct_url is not None:
        (metadata / "direct_url.json").write_text(json.dumps(direct_url))
    (packages / "sglang").mkdir()
    (packages / "sglang" / "__init__.py").touch()
    (packages / "sglang" / "launch_server.py").write_text(_LAUNCH_SERVER.format(version=version))
    # The suite and what it needs, behind its own packages.
    paths = [path for path in sys.path if path and Path(path).is_dir()]
    (packages / "suite.pth").write_text("\n".join(paths) + "\n")
    return folder / "bin" / "python"


def wheel(folder: Path, name: str, version: str) -> None:
    """A wheel of one module that says its version."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in (*files, f"{info}/RECORD"))
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)


def unpack(wheels: Path, name: str, version: str, site: Path) -> None:
    with zipfile.ZipFile(wheels / f"{name}-{version}-py3-none-any.whl") as archive:
        archive.extractall(site)
