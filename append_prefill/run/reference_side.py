"""The reference of a side-by-side record as a record of its own, judged on its launches alone."""

from __future__ import annotations

from append_prefill.analysis.summary import as_candidate, usable
from append_prefill.probe.plan import plan_of
from append_prefill.records.grounds import RunWarning
from append_prefill.records.run import Run
from append_prefill.run.judge import judge
from append_prefill.run.references import References
from append_prefill.workload.profile import Profile


def reference_record(run: Run, profile: Profile) -> Run | None:
    """The record the reference of `run` would have had alone; None if only one side was measured.

    `profile` is the one `run` was measured with. The reference's usable launches are the
    candidate's there, and nothing is compared. A run that failed has failed for both sides.
    """
    starts = [as_candidate(start) for start in usable(run.starts, "reference")]
    if not starts:
        return None
    own = run.model_copy(
        update={
            "subject": starts[0].subject,
            "starts": starts,
            "warnings": [
                *run.warnings,
                RunWarning(code="measured-as-reference", version=run.version),
            ],
        }
    )
    if run.verdict == "infrastructure":
        return own
    return judge(
        own,
        plan_of(run).narrowed(profile),
        references=References(),
        kv_bytes_per_token=run.kv_bytes_per_token,
        replicable=True,  # a running server has no reference beside it
    )
