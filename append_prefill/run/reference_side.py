"""The reference of a side-by-side record as a record of its own, judged on its launches alone."""

from __future__ import annotations

from typing import Any

from append_prefill.analysis.summary import as_candidate, usable
from append_prefill.probe.planning import plan_of
from append_prefill.records.grounds import RunWarning
from append_prefill.records.identity import arguments
from append_prefill.records.launch import Start
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
    own = run.labelled(run.against_label).model_copy(
        update={
            "identity": _identity(run, starts[0]),
            "subject": starts[0].subject,
            "starts": starts,
            "confirms": None,
            "confirmations": [],
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
        plan_of(run, profile).narrowed(profile),
        references=References(),
        kv_bytes_per_token=run.kv_bytes_per_token,
        kv_fixed_bytes=run.kv_fixed_bytes,
        replicable=True,  # a running server has no reference beside it
    )


def _identity(run: Run, reference: Start) -> dict[str, Any]:
    """The identity of `run` with the reference's server arguments, where it had some of its own.

    The identity has the profile's and the user's alone; what the engine adds is the same for both.
    A simulated server's say what it is, and are in no identity.
    """
    pinned = run.identity.get("server_args")
    if pinned is None or run.simulated:
        return run.identity
    candidate = next((start for start in run.starts if start.side == "candidate"), None)
    if candidate is None:
        return run.identity
    ours, theirs = arguments(candidate.server_args), arguments(reference.server_args)
    shared = {k: value for k, value in pinned.items() if k in theirs or k not in ours}
    own = {k: value for k, value in theirs.items() if ours.get(k) != value}
    return run.identity | {"server_args": shared | own}
