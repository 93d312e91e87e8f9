"""What the selected tests ask for: which experiments are measured, and whether sides are compared.

Every worker of a run collects the same tests; its controller collects none and reads what they
selected from a file in the run's folder.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import BaseModel

from append_prefill.errors import UsageError
from append_prefill.places import checkout_of
from append_prefill.plugin.options import LOAD_MARKER, MARKER
from append_prefill.plugin.state import (
    CREATED,
    FOLDER,
    REFERENCES,
    RESUMED,
    SELECTION_FILE,
    SETTINGS,
)
from append_prefill.records.store import write_whole
from append_prefill.run.options import Options
from append_prefill.run.progress import PROGRESS, ProgressLog
from append_prefill.run.references import References
from append_prefill.run.resume import refuse_other_plan
from append_prefill.run.session import Session, Worker
from append_prefill.run.settings import experiment_ids


class Selection(BaseModel):
    """`experiments`: ids, None for all that are not heavy; `heavy`: those that are.

    `compares`: a selected test holds against a reference.
    """

    experiments: list[str] | None
    heavy: list[str] = []
    compares: bool


def selection_of(items: Iterable[pytest.Item]) -> Selection:
    """What these tests ask for; all experiments as soon as one test names none."""
    named: dict[str, None] = {}
    heavy: dict[str, None] = {}
    every = compares = False
    for item in items:
        compares = compares or _compares(item)
        for mark in item.iter_markers(MARKER):
            every = every or not mark.args
            of = heavy if item.get_closest_marker(LOAD_MARKER) else named
            of.update(dict.fromkeys(mark.args))
    return Selection(
        experiments=None if every else list(named) or ([] if heavy else None),
        heavy=list(heavy),
        compares=compares,
    )


def _compares(item: pytest.Item) -> bool:
    fixtures = getattr(item, "fixturenames", ())
    return "hold_against_reference" in fixtures or "hold_traffic" in fixtures


def keep(selection: Selection, folder: Path) -> None:
    """Write it where the controller reads it."""
    write_whole(folder / SELECTION_FILE, selection.model_dump_json())


def kept(folder: Path) -> Selection | None:
    """What was selected; None where no worker came to collect."""
    path = folder / SELECTION_FILE
    return Selection.model_validate_json(path.read_bytes()) if path.exists() else None


def session_of(config: pytest.Config, selected: Selection) -> Session:
    """The session that measures what was selected. Raises UsageError for what cannot be."""
    settings, experiments = config.stash[SETTINGS], selected.experiments
    options, profile = settings.options, settings.profile
    usual = [e.id for e in profile.experiments] + [e.id for e in profile.traffic if not e.heavy]
    known = [*usual, *(name for name in experiment_ids(profile) if name not in usual)]
    if selected.heavy:
        experiments = [*(usual if experiments is None else experiments), *selected.heavy]
    unknown = [name for name in experiments or [] if name not in known]
    if unknown:
        raise UsageError(
            "--profile",
            profile.name,
            f"has no experiment {', '.join(unknown)}, which a selected test needs.",
            f"It has {', '.join(known)}; add the experiment to it, or use another profile.",
        )
    if options.save_baseline and experiments is not None and set(usual).difference(experiments):
        raise UsageError(
            "--save-baseline",
            "",
            f"with only {', '.join(experiments)} selected would store a part as the whole.",
            "Select all tests, or drop --save-baseline.",
        )
    received = getattr(config, "workerinput", {})
    worker = Worker(
        int(received["workerid"].removeprefix("gw")) if received else 0,
        int(received.get("workercount", 0) or getattr(config.option, "numprocesses", 0) or 1),
    )
    plan = settings.plan(experiments)
    settings.check_fits(plan)
    resumed = config.stash.get(RESUMED, None)
    if resumed is not None:
        refuse_other_plan(resumed, plan, settings, worker.count)
    return Session(
        settings,
        plan,
        config.stash[FOLDER],
        config.stash[CREATED],
        references=_compared(config.stash[REFERENCES], options, selected),
        worker=worker,
        tell=ProgressLog(config.stash[FOLDER] / PROGRESS, received["workerid"] if received else ""),
        resumption=None if resumed is None else resumed.resumption,
    )


def _compared(references: References, options: Options, selected: Selection) -> References:
    """What is stored makes a verdict where a selected test, or an option, asks for it.

    Else a run of one finding would end red by a comparison that no test of it made.
    """
    asked = selected.compares or options.baseline != "auto"
    return references if asked else replace(references, compared=False)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the instrument's own tests aside where no path was given: none of them measures.

    Importing them takes seconds, and what they need beside the suite may not be there.
    """
    checkout = checkout_of(config.rootpath)
    if checkout is None or config.args_source is not config.ArgsSource.TESTPATHS:
        return None
    # pytest does not ask about the folder itself, being one that its configuration names.
    return True if collection_path.is_relative_to(checkout / "tests") else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out heavy traffic that nobody asked for, and of a run of some experiments, as a quick
    one is, the tests of others and those that take a server of their own.
    """
    settings = config.stash.get(SETTINGS, None)
    if settings is None:
        return
    heavy, wanted = LOAD_MARKER in config.option.markexpr, settings.wanted
    left_out = [
        item
        for item in items
        if (item.get_closest_marker(LOAD_MARKER) and not heavy)
        or (wanted is not None and not _wanted(item, wanted))
    ]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _wanted(item: pytest.Item, experiments: Collection[str]) -> bool:
    named = {name for mark in item.iter_markers(MARKER) for name in mark.args}
    alone = "live_server" in getattr(item, "fixturenames", ())
    return not alone and named <= set(experiments)
