"""The options of one run as given, and what of them contradicts itself."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from append_prefill.errors import UsageError
from append_prefill.records.identity import without_secrets
from append_prefill.run.labels import refuse_labels


@dataclass(frozen=True, slots=True)
class Options:
    """The options as given; None or empty means not given. Names follow the command line."""

    sglang: str | None = None
    against: str | None = None
    control: str | None = None
    sglang_url: str | None = None
    server_arg: Sequence[str] = ()
    against_server_arg: Sequence[str] = ()
    label: str | None = None
    against_label: str | None = None
    profile: str | None = None
    model: str | None = None
    dummy_weights: bool = False
    experiment: Sequence[str] = ()
    starts: int | None = None
    samples: int | None = None
    budget_minutes: float | None = None
    seed: int = 0
    baseline: str = "auto"
    save_baseline: bool = False
    strict_verdicts: bool = False
    lock_clocks: bool = False
    quick: bool = False
    confirms: str | None = None

    def command(self) -> str:
        """The options of the server and of what is measured, as they could be typed again.

        Left out are those that only say what to do with the result, and secrets' values.
        """
        words: list[str] = []
        for option, value in (
            ("--sglang", self.sglang),
            ("--against", self.against),
            ("--control", self.control),
            ("--sglang-url", self.sglang_url),
            ("--profile", self.profile),
            ("--model", self.model),
            ("--starts", self.starts),
            ("--samples", self.samples),
            ("--budget", self.budget_minutes),
            ("--seed", self.seed),
            ("--baseline", self.baseline),
            ("--confirms", self.confirms),
        ):
            if value is not None:
                words += [option, str(value)]
        for option, arguments_given in self.reference_args().items():
            words += [f"{option}={argument}" for argument in without_secrets(arguments_given)]
        words += [f"--{key.replace('_', '-')}={label}" for key, label in self.labels().items()]
        words += [f"--experiment={name}" for name in self.experiment]
        if self.dummy_weights:
            words.append("--dummy-weights")
        if self.lock_clocks:
            words.append("--lock-clocks")
        if self.quick:
            words.append("--quick")
        return shlex.join(words)

    def labels(self) -> dict[str, str]:
        """What the user calls the sides, by the record's key, where that was said."""
        given = {"label": self.label, "against_label": self.against_label}
        return {key: label for key, label in given.items() if label is not None}

    def candidate_args(self) -> dict[str, Sequence[str]]:
        """The candidate's server arguments, by the option that brought them."""
        return {"--server-arg": self.server_arg}

    def reference_args(self) -> dict[str, Sequence[str]]:
        """The same for the reference, whose own come last, so that they count."""
        return self.candidate_args() | {"--against-server-arg": self.against_server_arg}


def refuse_contradictions(options: Options) -> None:
    if options.sglang_url:
        for name, value in (
            ("--sglang", options.sglang),
            ("--against", options.against),
            ("--control", options.control),
            ("--server-arg", " ".join(without_secrets(options.server_arg))),
            ("--model", options.model),
            ("--dummy-weights", options.dummy_weights),
            ("--save-baseline", options.save_baseline),
        ):
            if value:
                raise UsageError(
                    name,
                    "" if value is True else value,
                    f"cannot go with --sglang-url {options.sglang_url}: that server is measured "
                    f"as it is, and its launches cannot be replicated.",
                    f"Drop {name}, or let the suite start the server (--sglang).",
                )
    if options.against and options.control:
        raise UsageError(
            "--control",
            options.control,
            f"cannot go with --against {options.against}: what is held against side by side needs "
            "no control.",
            "Drop one of them.",
        )
    if not options.against:
        for name, given in (
            ("--against-server-arg", " ".join(without_secrets(options.against_server_arg))),
            ("--against-label", options.against_label),
        ):
            if given:
                raise UsageError(
                    name,
                    given,
                    "is about a reference that this run does not measure.",
                    "Name one with --against, the candidate's own version if need be.",
                )
    refuse_labels(options.label, options.against_label)
    for name, count in (("--starts", options.starts), ("--samples", options.samples)):
        if count is not None and count < 1:
            raise UsageError(name, count, "is not a number of repeats.", "Give 1 or more.")
    if options.budget_minutes is not None and options.budget_minutes <= 0:
        raise UsageError(
            "--budget", options.budget_minutes, "leaves no time.", "Give minutes above 0."
        )
    if options.seed < 0:
        raise UsageError("--seed", options.seed, "is negative.", "Give 0 or more.")
    if options.save_baseline and options.experiment:
        raise UsageError(
            "--save-baseline",
            "",
            "with --experiment would store a part as the whole.",
            "Drop one of the two.",
        )
    if options.save_baseline and options.quick:
        raise UsageError(
            "--save-baseline",
            "",
            "with --quick would store a part as the whole.",
            "Drop one of the two.",
        )
    if options.save_baseline and options.starts == 1:
        raise UsageError(
            "--save-baseline",
            "",
            "with --starts 1 would store a baseline without any launch-to-launch scatter.",
            "Measure at least two launches (five is the profiles' default).",
        )
