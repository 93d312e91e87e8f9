"""Records that a message must not break on, beside the report's samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache

from append_prefill.records.run import Run
from tests.report import samples

HOSTILE = "\x1b[31m<script>alert(1)</script> @team #1 `tick` *star* [a](http://b) <!-- x -->\nnext"
MEGABYTE = f"{HOSTILE} " * (1_000_000 // len(HOSTILE))


def relabelled(run: Run, label: str, against: str) -> Run:
    assert run.comparison is not None
    return run.model_copy(
        update={
            "suite": run.suite | {"label": label, "against_label": against},
            "comparison": run.comparison.model_copy(update={"reference": against}),
        }
    )


@cache
def _plain() -> Run:
    return samples.regression()


def hostile(text: str) -> Run:
    """Names, arguments, variables, warnings and claims that all hold `text`."""
    run = relabelled(_plain(), text, f"{text}!")
    named = {"commit": text, "environment": {text: text, "SGLANG_X": text}}
    starts = [
        start.model_copy(
            update={"subject": start.subject | named, "server_args": [f"--{text}", text]}
        )
        if start.side == "candidate"
        else start
        for start in run.starts
    ]
    found = run.findings[0].model_copy(update={"claim": text, "reason": text})
    # Of a megabyte, two are more than anybody takes.
    warnings = [text] * (20 if len(text) < len(MEGABYTE) else 2)
    findings = [found, *run.findings[1:]]
    return run.model_copy(update={"starts": starts, "warnings": warnings, "findings": findings})


def of_too_many_points() -> Run:
    """Enough findings and warnings to fill a comment."""
    run = samples.many_points()
    finding = run.findings[0]
    many = [finding.model_copy(update={"id": f"mine_{n}"}) for n in range(3000)]
    return run.model_copy(update={"findings": [*run.findings, *many]})


class Runs(Mapping[str, Run]):
    """Each is made when a test first asks for it: to collect the tests takes the names alone."""

    def __init__(self, makers: Mapping[str, Callable[[], Run]]) -> None:
        self._makers = {name: cache(make) for name, make in makers.items()}

    def __getitem__(self, name: str) -> Run:
        return self._makers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


RUNS = Runs(
    {name: lambda make=make: make()[0] for name, make in samples.SAMPLES.items()}
    | {
        "hostile": lambda: hostile(HOSTILE),
        "megabyte": lambda: hostile(MEGABYTE),
        "full": of_too_many_points,
    }
)
