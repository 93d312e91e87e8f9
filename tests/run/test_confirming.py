"""Reading a run that suspects, and writing into it what came of that."""

import json
from datetime import timedelta

import pytest

from append_prefill.cli.main import main
from append_prefill.errors import StorageError, UsageError
from append_prefill.records.confirmation import Confirms
from append_prefill.records.history.entry import key_of
from append_prefill.records.run import Run
from append_prefill.records.store import read_run, write_run
from append_prefill.run.confirming import read_suspicion, refuse_other
from append_prefill.run.history import add_run, load
from append_prefill.run.joining import join
from tests.report import samples
from tests.report.parts import profile


def kept(run, folder):
    write_run(samples.sound(run), folder / "run.json")
    return folder


def fresh(suspicion, run, hour=1):
    """A run of `run`'s outcome that measures the suspicion again."""
    return run.model_copy(
        update={
            "created_at": suspicion.run.created_at + timedelta(hours=hour),
            "confirms": suspicion.confirms,
        }
    )


def joined(suspicion, run, hour=1):
    return join(
        fresh(suspicion, run, hour),
        suspicion,
        suspicion.folder.parent / f"again-{hour}",
        profile=profile(),
        baseline=None,
    )


@pytest.fixture
def suspicion(tmp_path):
    folder = kept(samples.suspected(), tmp_path / "reports" / "then")
    add_run(samples.sound(samples.suspected()), folder)
    return read_suspicion(folder, option="RUN")


def test_a_suspicion_is_read_with_the_key_of_its_run(suspicion):
    assert suspicion.confirms.run == key_of(suspicion.run)
    assert [one.name for one in suspicion.confirms.suspects] == ["points"]
    assert suspicion.comparison == suspicion.run.comparison


def test_the_record_itself_may_be_named(suspicion):
    assert read_suspicion(suspicion.folder / "run.json", option="RUN") == suspicion


@pytest.mark.parametrize(
    "run",
    [samples.passing(), samples.improvement(), samples.broken(), samples.inconclusive()],
    ids=["pass", "improvement", "broken", "inconclusive"],
)
def test_a_run_that_suspects_nothing_is_refused(run, tmp_path):
    with pytest.raises(UsageError, match="suspects nothing"):
        read_suspicion(kept(run, tmp_path), option="RUN")


def test_a_run_that_confirms_is_not_itself_confirmed(suspicion, tmp_path):
    again = kept(fresh(suspicion, samples.regression()), tmp_path / "again")
    with pytest.raises(UsageError, match="Give that run"):
        read_suspicion(again, option="RUN")


@pytest.mark.parametrize(
    ("run", "answer"),
    [
        (samples.regression(), "confirmed"),
        (samples.passing(), "withdrawn"),
        (samples.inconclusive(), "undecided"),
    ],
)
def test_the_answer_is_in_record_history_and_report(suspicion, run, answer):
    after = joined(suspicion, run)
    assert read_run(suspicion.folder) == after
    assert [one.answers for one in after.confirmations] == [{"points": answer}]
    # Nothing else of the record has changed: what was said is what was said.
    assert after.model_copy(update={"confirmations": []}) == suspicion.run
    (entry,) = load(suspicion.folder.parent)
    assert list(entry.confirmations) == after.confirmations
    said = {"undecided": "still cannot tell after again-1"}.get(answer, f"{answer} by again-1")
    for name in ("report.html", "summary.md"):
        assert said in (suspicion.folder / name).read_text()


def test_the_history_says_it_beside_the_verdict(suspicion, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    joined(suspicion, samples.passing())
    report_dir = suspicion.folder.parent
    assert main(["history", "--report-dir", str(report_dir)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "regression, withdrawn by again-1" in said
    assert main(["history", "--report-dir", str(report_dir), "--json"]) == 0
    (data,) = json.loads(capsys.readouterr().out)
    (run,) = data["runs"]
    assert run["confirmations"][0]["answers"] == {"points": "withdrawn"}


def test_another_version_says_nothing_of_it(suspicion):
    other = samples.passing()
    other = other.model_copy(update={"subject": {**other.subject, "sglang": "0.5.99"}})
    assert joined(suspicion, other).confirmations[0].answers == {"points": "undecided"}


def test_a_record_that_cannot_be_written_is_a_line_and_stays_as_it_was(suspicion):
    (suspicion.folder / ".confirmations.lock").mkdir()
    with pytest.raises(StorageError, match="cannot be written"):
        joined(suspicion, samples.passing())
    assert read_run(suspicion.folder) == suspicion.run


def test_what_is_decided_is_not_asked_again(suspicion):
    joined(suspicion, samples.inconclusive())
    assert read_suspicion(suspicion.folder, option="RUN").confirms == suspicion.confirms
    joined(suspicion, samples.passing(), hour=2)
    with pytest.raises(UsageError, match="points withdrawn by again-2"):
        read_suspicion(suspicion.folder, option="RUN")


def test_a_run_that_ends_twice_has_one_answer(suspicion):
    joined(suspicion, samples.inconclusive())
    after = joined(suspicion, samples.passing())
    assert [one.answers for one in after.confirmations] == [{"points": "withdrawn"}]


def test_what_would_be_measured_has_to_be_what_is_suspected(suspicion):
    def refused(**changes):
        given = {
            "identity": suspicion.run.identity,
            "profile": profile(),
            "version": suspicion.run.version,
        } | changes
        refuse_other(suspicion, option="--confirms", **given)

    same = suspicion.run.model_copy(update={"definition": "d" * 64})
    assert isinstance(same, Run)
    with pytest.raises(UsageError, match="version"):
        refused(version="0.5.99")
    with pytest.raises(UsageError, match="device"):
        refused(identity=suspicion.run.identity | {"device": "another"})


def test_old_records_confirm_nothing_and_are_confirmed_by_nothing(tmp_path):
    run = read_run(kept(samples.passing(), tmp_path))
    assert (run.confirms, run.confirmations) == (None, [])
    assert Confirms.model_fields.keys() == {"run", "folder", "suspects"}
