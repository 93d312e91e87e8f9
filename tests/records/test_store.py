"""Records are written whole, read back equal, and refused with a sentence a user can act on."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from append_prefill.analysis.noise import noise_of
from append_prefill.errors import StorageError, UsageError
from append_prefill.records import store
from append_prefill.records.figures import TIME_MAX_MS, TIME_MIN_MS
from append_prefill.records.noise import NoiseRecord
from append_prefill.records.run import Run
from append_prefill.records.store import (
    SCHEMA_FILE,
    json_schema,
    read_run,
    read_starts,
    write_run,
    write_start,
)
from tests.records import builders


def test_run_comes_back_equal_but_for_secrets(tmp_path: Path) -> None:
    run = builders.run()
    back = read_run(write_run(run, tmp_path / "new" / "run.json"))
    for start in run.starts:
        start.server_args[-1] = "***"
    assert back == run


def test_top_level_keys_are_the_contract(tmp_path: Path) -> None:
    data = json.loads(write_run(builders.run(), tmp_path / "run.json").read_bytes())
    assert data["schema"] == "append-prefill/run/2"
    contract = (
        "schema created_at suite definition profile seed identity subject state plan starts points "
        "findings surface comparison verdict warnings"
    )
    assert set(contract.split()) <= set(data)
    assert data["comparison"] is None


def test_no_secret_reaches_a_record(tmp_path: Path) -> None:
    run = builders.run()
    run.starts[0].server_args = ["--api-key=hunter2", "--ssl-keyfile-password", "hunter2"]
    text = write_run(run, tmp_path / "run.json").read_text()
    text += write_start(run.starts[1], tmp_path).read_text()
    assert "hunter2" not in text
    assert "--chunked-prefill-size" in text


def test_folder_stands_for_its_run(tmp_path: Path) -> None:
    write_run(builders.run(), tmp_path / "run.json")
    assert read_run(tmp_path).profile == "llama-3.1-8b"


def test_nan_is_refused_and_the_old_record_stays(tmp_path: Path) -> None:
    path = write_run(builders.run(), tmp_path / "run.json")
    before = path.read_bytes()
    broken = builders.run()
    broken.starts[0].series[0].ttft_ms[0] = float("nan")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_run(broken, path)
    assert path.read_bytes() == before


def test_failed_write_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_run(builders.run(), tmp_path / "run.json")
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"run\.json cannot be written: no space left"):
        write_run(builders.run("0.5.24"), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]


def _damaged(tmp_path: Path, **changes: object) -> Path:
    data = builders.run().model_dump(mode="json", by_alias=True) | changes
    path = tmp_path / "run.json"
    path.write_text(json.dumps(data))
    return path


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "no such file"),
        ("{", "is not JSON"),
        ("\xff\xfe", "is no run record|is not JSON"),
        ("[]", "no schema key"),
        ('{"schema": 3}', "its schema is 3"),
        ('{"schema": "asv/1"}', "its schema is 'asv/1'"),
        ('{"schema": "append-prefill/run/3"}', "has schema append-prefill/run/3.*Upgrade"),
    ],
)
def test_what_is_no_record_is_named(tmp_path: Path, text: str | None, problem: str) -> None:
    path = tmp_path / "run.json"
    if text is not None:
        path.write_text(text, encoding="latin-1")
    with pytest.raises(UsageError, match=problem) as caught:
        read_run(path, option="--baseline")
    assert caught.value.option == "--baseline"
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_first_invalid_field_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"seed: Input should be a valid integer") as caught:
        read_run(_damaged(tmp_path, seed="seven", verdict="great"))
    assert "2 problem(s) in all" in str(caught.value)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (20e9, "less than or equal to 3600000"),
        (-20.0, "greater than or equal to 0.0001"),
        (0.0, "greater than or equal to 0.0001"),
        (float("nan"), "finite number"),
        (float("inf"), "finite number"),
        (None, "valid number"),
        ("20", None),
    ],
)
@pytest.mark.parametrize("field", ["ttft_ms", "e2e_ms"])
def test_a_time_that_cannot_be_is_refused_and_its_field_named(tmp_path, field, value, problem):
    path = _damaged(tmp_path)
    data = json.loads(path.read_text())
    data["starts"][1]["series"][2][field][3] = value
    path.write_text(json.dumps(data))
    if problem is None:
        assert read_run(path).starts[1].series[2].ttft_ms
        return
    with pytest.raises(
        UsageError, match=rf"starts\.1\.series\.2\.{field}\.3: .*{problem}"
    ) as caught:
        read_run(path, option="--baseline")
    assert caught.value.option == "--baseline"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((field, value) for field in ("start_sd", "within_sd", "night_sd", "pair_sd")
          for value in (-0.01, 1e9, float("nan"), float("inf"))),
        ("starts", -1),
        ("nights", -1),
        ("pairs", -1),
    ],
)  # fmt: skip
def test_a_noise_that_cannot_be_is_refused_and_its_field_named(tmp_path, field, value):
    noise = {"starts": 20, "nights": 4, "start_sd": 0.01, "within_sd": 0.02, "night_sd": 0.0}
    path = _damaged(tmp_path, noise=noise | {"points": []})
    assert read_run(path).noise is not None
    path = _damaged(tmp_path, noise=noise | {"points": [], field: value})
    with pytest.raises(UsageError, match=rf"noise\.{field}: "):
        read_run(path)


def test_a_median_that_cannot_be_is_refused(tmp_path: Path) -> None:
    path = _damaged(tmp_path)
    data = json.loads(path.read_text())
    data["points"][0]["median_ms"] = 20e9
    path.write_text(json.dumps(data))
    with pytest.raises(UsageError, match=r"points\.0\.median_ms: .*3600000"):
        read_run(path)


def test_lists_of_unequal_length_are_refused(tmp_path: Path) -> None:
    path = _damaged(tmp_path)
    data = json.loads(path.read_text())
    data["starts"][0]["series"][1]["block"].pop()
    path.write_text(json.dumps(data))
    with pytest.raises(UsageError, match=r"starts\.0\.series\.1: .*block has 4 entries"):
        read_run(path)


def test_two_starts_of_a_side_are_told_apart_by_index(tmp_path: Path) -> None:
    path = _damaged(tmp_path)
    data = json.loads(path.read_text())
    data["starts"][1]["index"] = 0
    path.write_text(json.dumps(data))
    with pytest.raises(UsageError, match="two candidate launches have the index 0"):
        read_run(path)


def test_what_is_measured_is_within_what_a_noise_may_say() -> None:
    """The wildest valid samples: the limits of a time, in the order that scatters most."""
    low, high = TIME_MIN_MS, TIME_MAX_MS
    nights = [[], []]
    for index, (first, second) in enumerate([(low, high), (high, low), (low, low), (high, high)]):
        start = builders.start(index, "candidate")
        for series in start.series:
            series.ttft_ms[:] = [first, second, first, second, first]
        nights[index % 2].append(start)
    noise = noise_of(nights)
    assert NoiseRecord.model_validate(noise.model_dump()) == noise


def test_unknown_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ttft: Extra inputs"):
        read_run(_damaged(tmp_path, ttft=1))


def test_starts_are_kept_while_they_are_measured(tmp_path: Path) -> None:
    assert read_starts(tmp_path) == []
    growing = builders.start(0, series=[])
    path = write_start(growing, tmp_path)
    assert path == tmp_path / "starts" / "candidate-0.json"
    for start in (builders.start(0), builders.start(10), builders.start(0, "reference")):
        write_start(start, tmp_path)
    write_start(builders.start(2), tmp_path)
    read = read_starts(tmp_path)
    assert [(s.index, s.side) for s in read] == [
        (0, "candidate"),
        (0, "reference"),
        (2, "candidate"),
        (10, "candidate"),
    ]
    assert read[0].series == builders.start(0).series


def test_broken_start_is_named_not_skipped(tmp_path: Path) -> None:
    path = write_start(builders.start(), tmp_path)
    path.write_text("{}")
    with pytest.raises(UsageError, match=r"candidate-0\.json.*index: Field required"):
        read_starts(tmp_path)
    path.write_text("{")
    with pytest.raises(UsageError, match="is not JSON"):
        read_starts(tmp_path)


def test_checked_in_schema_is_current() -> None:
    """If this fails: append-prefill schema --out append_prefill/records/schema/run.schema.json."""
    assert SCHEMA_FILE.read_text(encoding="utf-8") == json_schema()


def test_schema_asks_for_its_own_name() -> None:
    schema = json.loads(json_schema())
    assert "schema" in schema["required"]
    assert schema["properties"]["schema"]["const"] == "append-prefill/run/2"
    assert set(schema["properties"]) == {
        field.alias or name for name, field in Run.model_fields.items()
    }


def test_diffs_are_readable(tmp_path: Path) -> None:
    text = store.run_text(builders.run())
    lines = text.splitlines()
    assert sum('"ttft_ms"' in line for line in lines) == 5, "one line a start"
    assert text.endswith("}\n")


def test_samples_of_a_block_that_does_not_count_are_refused(tmp_path: Path) -> None:
    run = builders.run("0.5.23")
    first = run.starts[0]
    own = {"block": first.series[0].block[0], "void": "throttled", "readings": {}}
    write_run(run, tmp_path / "run.json")
    data = json.loads((tmp_path / "run.json").read_text())
    data["starts"][0]["state"] = [{**own, "side": "reference"}]
    Run.model_validate(data)
    data["starts"][0]["state"] = [{**own, "side": "candidate"}]
    with pytest.raises(ValidationError, match="which the device's state made invalid"):
        Run.model_validate(data)
    # Of a block that was watched in legs one may have been taken again.
    data["starts"][0]["state"].append({**own, "side": "candidate", "void": None})
    Run.model_validate(data)
