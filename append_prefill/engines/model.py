"""What the server loads: a directory with a `config.json`, and what names it in a record."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from append_prefill.engines.tokenizer import write_tokenizer
from append_prefill.errors import UsageError
from append_prefill.places import cache_folder
from append_prefill.workload.profile import Model

_OPTION = "--model"
_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.gguf")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json")


@dataclass(frozen=True)
class ResolvedModel:
    """A model directory that exists. `config_sha256` is of the config's content, not its layout.

    `has_tokenizer` is False for a bare geometry: the server then runs without one. `tokenizer`
    names the suite's own where a geometry was given it.
    """

    name: str
    path: Path
    config: dict[str, Any]
    config_sha256: str
    weights: Literal["dummy", "real"]
    has_tokenizer: bool
    tokenizer: str | None = None

    @property
    def dtype(self) -> str | None:
        """As the config gives it (`bfloat16`), or None."""
        return dtype_of(self.config)

    @property
    def max_position_tokens(self) -> int | None:
        """Longest sequence the geometry has positions for."""
        value = self.config.get("max_position_embeddings")
        return None if value is None else int(value)

    def identity(self) -> dict[str, Any]:
        """What must be equal for two runs to be of one model."""
        # A server with a tokenizer makes texts of what it generates, which takes time; there is no
        # key without, as before there could be one.
        given = {} if self.tokenizer is None else {"tokenizer": self.tokenizer}
        return {
            **given,
            "name": self.name,
            "config_sha256": self.config_sha256,
            "dtype": self.dtype,
            "weights": self.weights,
        }

    def launch_args(self) -> list[str]:
        """The arguments of `sglang.launch_server` that go with it, but for its path."""
        args = ["--load-format", "dummy"] if self.weights == "dummy" else []
        if not self.has_tokenizer:
            args.append("--skip-tokenizer-init")
        return args


def resolve_model(
    declared: Model, *, model: str | None, dummy_weights: bool | None, cache: Path | None = None
) -> ResolvedModel:
    """Find the model of a run: `--model`, else the profile's path, else its geometry.

    `model` is a directory, the profile's own name, or the name of a model in the local Hugging
    Face cache; nothing is ever downloaded. `dummy_weights` None means: as the profile says, and
    real weights for a model that was named. Raises UsageError.
    """
    own = model is None or model == declared.name
    tokenizer = None
    dummy = declared.dummy_weights if own and dummy_weights is None else bool(dummy_weights)
    if own and declared.path is None and declared.config is not None:
        if not dummy:
            raise UsageError(
                _OPTION,
                model or "(not given)",
                f"{declared.name} is only a geometry in this profile and has no weights.",
                "Give the directory that holds them as --model PATH, or use --dummy-weights.",
            )
        path, tokenizer = materialise(declared, cache or default_cache()), declared.tokenizer
    else:
        path = _directory(declared.path or declared.name if own else str(model))
    config = read_config(path)
    if not dummy and not any(next(path.glob(pattern), None) for pattern in _WEIGHTS):
        raise UsageError(
            _OPTION,
            path,
            "has a config.json but no weights.",
            "Put the weights beside it, or add --dummy-weights.",
        )
    return ResolvedModel(
        name=declared.name if own else _name_of(str(model), path),
        path=path,
        config=config,
        config_sha256=config_digest(config),
        weights="dummy" if dummy else "real",
        has_tokenizer=any((path / name).is_file() for name in _TOKENIZERS),
        tokenizer=tokenizer,
    )


def dtype_of(config: dict[str, Any]) -> str | None:
    """The dtype a config gives, under its newer or older name; None without one."""
    value = config.get("dtype") or config.get("torch_dtype")
    return None if value is None else str(value)


def config_digest(config: dict[str, Any]) -> str:
    """sha256 of the config's content: keys sorted, without what a download writes into it."""
    content = {
        k: v for k, v in config.items() if k not in {"_name_or_path", "transformers_version"}
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def materialise(declared: Model, cache: Path) -> Path:
    """Write the profile's geometry as a model directory in `cache`; its name holds its hash.

    With the suite's tokenizer beside it where the profile asks for it.

    Safe for several processes at once: the file appears whole or not at all.
    """
    if declared.config is None:
        raise ValueError(f"{declared.name} has no geometry")
    slug = re.sub(r"[^A-Za-z0-9.-]+", "-", declared.name)
    kind = "" if declared.tokenizer is None else f"-{declared.tokenizer}"
    folder = cache / f"{slug}-{config_digest(declared.config)[:12]}{kind}"
    if declared.tokenizer is not None:
        write_tokenizer(folder, int(declared.config["vocab_size"]))
    target = folder / "config.json"
    text = json.dumps(declared.config, indent=1, sort_keys=True) + "\n"
    if target.is_file() and target.read_text(encoding="utf-8") == text:
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=folder, suffix=".partial")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    Path(partial).replace(target)
    return folder


def default_cache() -> Path:
    """Where geometries are kept between runs."""
    return cache_folder() / "models"


def read_config(path: Path) -> dict[str, Any]:
    """The `config.json` of a model directory. Raises UsageError if there is none to read."""
    file = path / "config.json"
    if not path.is_dir():
        raise UsageError(
            _OPTION, path, "no such directory.", "Give a directory with a config.json."
        )
    if not file.is_file():
        raise UsageError(
            _OPTION, path, "has no config.json.", "Give the model's own directory, as downloaded."
        )
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(
            _OPTION, path, f"config.json is no JSON ({error}).", "Repair it."
        ) from error
    if not isinstance(config, dict):
        raise UsageError(_OPTION, path, "config.json is no JSON object.", "Repair it.")
    return config


def _directory(text: str) -> Path:
    path = Path(text).expanduser()
    if path.is_dir():
        return path.resolve()
    cached = _in_hub_cache(text)
    if cached is None:
        raise UsageError(
            _OPTION,
            text,
            "is neither a directory nor a model in the local Hugging Face cache.",
            f"Give the path of a directory with a config.json, or fetch it first "
            f"(`hf download {text}`): a run never downloads.",
        )
    return cached


def _in_hub_cache(name: str) -> Path | None:
    """The snapshot of `org/name` that the cache calls main, if it is there."""
    hub = os.environ.get("HF_HUB_CACHE")
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    repository = (Path(hub) if hub else home / "hub") / f"models--{name.replace('/', '--')}"
    main = repository / "refs" / "main"
    if not main.is_file():
        return None
    snapshot = repository / "snapshots" / main.read_text(encoding="utf-8").strip()
    return snapshot if (snapshot / "config.json").exists() else None


def _name_of(given: str, path: Path) -> str:
    return path.name if Path(given).expanduser().is_dir() else given
