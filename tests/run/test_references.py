"""What a run is held against from storage."""

from datetime import UTC, datetime, timedelta

from append_prefill.records.baselines import save_baseline
from append_prefill.records.identity import identity_of
from append_prefill.records.noise import NoiseRecord
from append_prefill.records.store import write_run
from append_prefill.run.history import add_run
from append_prefill.run.references import References, gather
from append_prefill.workload.loading import load_profile
from append_prefill.workload.points import Point
from tests.records import builders

PROFILE = load_profile("llama-3.1-8b")
NOISE = NoiseRecord(starts=20, nights=4, start_sd=0.01, within_sd=0.02, night_sd=0.01, points=[])


def references(root, selector="auto", **identity):
    return gather(
        root / "baselines",
        root / "reports",
        selector,
        identity=identity_of(builders.run()) | identity,
        version="0.5.23",
        profile=PROFILE,
        now=datetime(2026, 11, 3, tzinfo=UTC),
    )


def test_noise_comes_from_any_baseline_of_the_identity(tmp_path):
    assert references(tmp_path).noise is None
    save_baseline(builders.run(noise=NOISE), tmp_path / "baselines")
    assert references(tmp_path).noise == NOISE
    # Also where nothing is to be compared with, for both sides are measured then.
    none = references(tmp_path, "none")
    assert (none.chosen, none.noise) == (None, NOISE)


def test_another_identitys_noise_is_not_borrowed(tmp_path):
    save_baseline(builders.run(noise=NOISE), tmp_path / "baselines")
    assert references(tmp_path, driver="1.2.3").noise is None


def test_the_rolling_window_goes_on_when_an_experiment_is_added(tmp_path):
    """Sessions before and after, the older ones of a suite whose records told no protocol."""
    more = (*builders.POINTS, Point(96, 64))
    for day in range(3):
        run = builders.run(created_at=builders.CREATED + timedelta(hours=day))
        if day < 2:
            run = builders.as_before_protocols(run)
        else:
            run.starts = [builders.start(index, points=more) for index in range(5)]
            run.plan.points.append((96, 64))
        folder = tmp_path / "reports" / f"night-{day}"
        write_run(run, folder / "run.json")
        add_run(run, folder)
    identity = identity_of(builders.run()) | {"definition": "e" * 64}
    rolling = references(tmp_path, **identity).rolling
    assert len(rolling.starts) == 15
    assert {p.point for p in rolling.noise.points} == set(more)


def test_nights_without_a_point_in_common_are_no_window(tmp_path):
    for day in range(2):
        run = builders.run(created_at=builders.CREATED + timedelta(hours=day))
        run.plan.points = [(9, 9)]
        folder = tmp_path / "reports" / f"night-{day}"
        write_run(run, folder / "run.json")
        add_run(run, folder)
    assert references(tmp_path).rolling is None


def test_a_stored_run_of_another_machine_is_none_to_compare_with(tmp_path):
    """Unless it was asked for: then the comparison says in what they differ."""
    save_baseline(builders.run("0.5.20"), tmp_path / "baselines")
    assert references(tmp_path).chosen is not None
    other = {"memory_bytes": 85_000_000_000}
    found = references(tmp_path, **other)
    assert (found.chosen, found.stored) == (None, [])
    (warning,) = found.warnings
    assert (warning.code, warning.version) == ("elsewhere", "0.5.20")
    assert warning.fields == ["memory_bytes"]
    assert references(tmp_path, "0.5.20", **other).chosen is not None
    # What can change on a machine does not make it another one.
    assert references(tmp_path, driver="1.2.3", power_cap_w=500).chosen is not None


def test_a_reference_that_is_not_compared_still_tells_a_regime_shift():
    chosen = builders.run("0.5.20")
    assert References(chosen).stored == [("chosen", chosen)]
    aside = References(chosen, pinned=chosen, compared=False)
    assert (aside.chosen, aside.stored) == (chosen, [])


def test_runs_of_a_part_are_not_among_the_last_runs(tmp_path):
    for hour, count in enumerate((4, 4, 2, 4, 1)):
        points = builders.POINTS[:count]
        run = builders.run(created_at=builders.CREATED + timedelta(hours=hour))
        run.points = [p for p in run.points if p.point in points]
        run.plan.points = [(p.context_tokens, p.append_tokens) for p in points]
        run.starts = [builders.start(index, points=points) for index in range(5)]
        folder = tmp_path / "reports" / f"run-{hour}"
        write_run(run, folder / "run.json")
        add_run(run, folder)
    rolling = references(tmp_path).rolling
    assert rolling is not None
    assert len(rolling.starts) == 15
    assert all(len(start.series) == 4 for start in rolling.starts)
