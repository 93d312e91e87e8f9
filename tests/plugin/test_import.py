"""What pytest loads of the suite in a run that has nothing to do with it."""

import subprocess
import sys

from benchmarks.plugin_import import import_ms

HEAVY = ("scipy", "numpy", "pydantic", "httpx", "hypothesis", "jinja2", "orjson", "psutil")
# rich, xdist and the like come with pytest's own plugins, or not at all.
OURS = ("append_prefill.run", "append_prefill.records", "append_prefill.report")

LOADED = "import {module}, sys; print(*sorted(sys.modules))"


def loaded_by(module):
    command = [sys.executable, "-c", LOADED.format(module=module)]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


def test_the_plugin_loads_nothing_heavy():
    added = loaded_by("append_prefill.plugin") - loaded_by("pytest")
    tops = {name.partition(".")[0] for name in added}
    assert tops.isdisjoint(HEAVY)
    assert "rich" not in tops
    assert not [name for name in added if name.startswith(OURS)]
    # What is added is the suite's own and a few modules of the standard library.
    assert {top for top in tops if top not in sys.stdlib_module_names} == {"append_prefill"}


def test_a_run_does_without_the_slowest_import_of_all():
    """A third of what importing the suite took, in every worker, for a few quantiles."""
    loaded = loaded_by("append_prefill.run.session, append_prefill.report.write")
    assert "scipy.special" in loaded
    # What imports it, and what a search for cliffs alone needs.
    assert loaded.isdisjoint({"scipy.stats", "ruptures", "scipy.interpolate"})


def test_a_run_of_others_stays_without_it(pytester):
    """The hooks that pytest calls in every run, called: they must not bring it in either."""
    pytester.makeconftest('pytest_plugins = ["append_prefill.plugin"]')
    pytester.makepyfile(
        f"""
        import sys

        import pytest

        def test_of_theirs():
            assert not [name for name in {OURS} if name in sys.modules]

        @pytest.mark.append_prefill
        def test_of_ours(finding, planned_point):
            raise AssertionError("must be deselected")
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-q")
    result.assert_outcomes(passed=1, deselected=1)


def test_fixtures_are_there_and_skip_without_a_run(pytester):
    pytester.makeconftest('pytest_plugins = ["append_prefill.plugin"]')
    pytester.makepyfile("def test_it(finding, hold_against_reference, live_server): pass")
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*measures a server: run pytest -m append_prefill*"])
    listed = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--fixtures").stdout.str()
    for name in ("finding", "measured", "live_server", "append_prefill_session"):
        assert f"{name} " in listed or f"{name}\n" in listed


def test_the_benchmark_measures():
    ((clock_ms, processor_ms),) = import_ms(1)
    assert clock_ms > 0
    assert processor_ms > 0
