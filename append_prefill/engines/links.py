"""The links that a KV cache can travel, as this device has them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

from append_prefill.errors import InfrastructureError

# Not imported: torch is in the server's environment, not in the suite's.
_SCRIPT = Path(__file__).with_name("_links.py")
# The KV cache of 1,024 tokens of an 8B model with grouped-query attention: what a decode server
# is sent for one request, and far past every cache's size.
SIZE_BYTES = 128 * 2**20
_LIMIT_S = 120.0


def measure_links(python: Path, env: Mapping[str, str]) -> dict[str, float]:
    """GB/s by name (see `_links`) of the GPU that `env` shows, with the torch of `python`.

    Takes some five seconds, most of them importing torch. Raises InfrastructureError if the
    interpreter cannot use the GPU.
    """
    argv = [str(python), str(_SCRIPT), str(SIZE_BYTES)]
    try:
        done = subprocess.run(
            argv, env=dict(env), check=True, capture_output=True, text=True, timeout=_LIMIT_S
        )
        return {str(name): float(speed) for name, speed in json.loads(done.stdout).items()}
    except subprocess.CalledProcessError as error:
        raise InfrastructureError(
            f"the KV links could not be measured: {error.stderr.strip() or error}"
        ) from error
    except (subprocess.TimeoutExpired, ValueError, AttributeError) as error:
        raise InfrastructureError(f"the KV links could not be measured: {error}") from error
