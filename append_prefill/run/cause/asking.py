"""What a run was measured with, as the options of the pass that profiles its two sides."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from append_prefill.errors import UsageError
from append_prefill.records.run import Run
from append_prefill.report.names import option_words
from append_prefill.run.options import Options
from append_prefill.run.resolve import resolve
from append_prefill.run.settings import Settings

_GIVEN = ("sglang", "against", "profile", "model", "label", "against_label")


def settings_of(run: Run, given: Mapping[str, str | None], named: Path, root: Path) -> Settings:
    """Both sides as `run` had them, but for what is `given` by the name of its option.

    `named` is what the user named the run by. The reference of a run that confirmed a suspicion is
    the version that it confirmed it with. Raises UsageError where a side is not at hand.
    """
    if not run.replicated:
        raise UsageError(
            "RUN",
            named,
            "is of a running server, which is no one's to launch again.",
            "Measure it with --sglang, so that the suite launches it.",
        )
    words = _read(option_words(run))
    asked = {name: given.get(name) or getattr(words, name) for name in _GIVEN}
    if asked["against"] is None and run.compared is not None:
        asked["against"] = run.compared.reference_version
    if asked["against"] is None:
        raise UsageError(
            "RUN",
            named,
            "does not tell what its reference was.",
            "Name it with --against.",
        )
    return resolve(
        Options(
            sglang=asked["sglang"],
            against=asked["against"],
            profile=asked["profile"],
            model=asked["model"],
            label=asked["label"],
            against_label=asked["against_label"],
            server_arg=words.server_arg,
            against_server_arg=words.against_server_arg,
            dummy_weights=words.dummy_weights,
            seed=run.seed,
        ),
        root,
    )


def _read(words: Sequence[str]) -> argparse.Namespace:
    """The options among `words` that say what is measured; the others are passed over."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in _GIVEN:
        parser.add_argument(f"--{name.replace('_', '-')}")
    parser.add_argument("--dummy-weights", action="store_true")
    for option in ("--server-arg", "--against-server-arg"):
        parser.add_argument(option, action="append", default=[])
    return parser.parse_known_args(words)[0]
