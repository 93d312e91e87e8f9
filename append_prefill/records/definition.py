"""The definition of a benchmark: the protocol of a sample, and the points it is taken at.

Two runs can be compared where their protocols are equal, at the points both measured. The protocol
stands in the run's identity, field by field. The record's `definition` is a hash of both: equal
hashes are equal benchmarks, and unequal ones may still share protocol and points.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from append_prefill.workload.points import Point
from append_prefill.workload.profile import Profile

# Raise it whenever the same profile would, on the same server, give other numbers or other
# samples than before: when the clock starts or stops elsewhere, when a sample is primed, warmed
# up, flushed, ordered or made invalid differently, when the token ids are drawn from another range.
# Every stored baseline is then of another protocol and has to be measured again, so do not
# raise it for a change of statistics, of reports, or of how often something is measured.
PROTOCOL_VERSION = 1

Protocol = dict[str, Any]

# Records were written before their identity told the protocol. It was this one wherever it
# explains the hash they hold; see `protocol_behind`.
UNTOLD: Protocol = {
    "version": 1,
    "output_tokens": 2,
    "share_output_tokens": 32,
    "idle_ms": 3.0,
}


def protocol_of(profile: Profile) -> Protocol:
    """What a sample is; every key must be equal for two samples of a point to mean the same.

    Left out is what only says how often or how it is judged (launches, samples, budget, bounds,
    policy) and what the experiments are called. A key that is added is left out, too, where its
    value means what was done before there was the key: what was stored then stays comparable.
    """
    plan = profile.plan
    # Which core a thread runs on moves TTFT by per cents, and a server whose caches the other one
    # used a moment ago is not one that has them to itself.
    added: Protocol = {}
    if profile.placement.policy != "off":
        added["placement"] = profile.placement.policy
        # Where the kernel places the threads, the other server's turn says nothing of a core, and a
        # run of one side has no turns at all.
        if plan.alternate != "block":
            added["alternate"] = plan.alternate
            # Between two turns a server then waits while the other one has its own.
            if any(unit.conversation for e in profile.traffic for unit in e.units):
                added["turns"] = "alternate"
    return {
        **added,
        "version": PROTOCOL_VERSION,
        "output_tokens": plan.output_tokens,
        "share_output_tokens": plan.share_output_tokens,
        # The pause decides which state the scheduler and the device's clocks are in when the
        # request arrives, so it is part of what is measured.
        "idle_ms": plan.idle_ms,
    }


def definition_of(profile: Profile) -> str:
    """The definition of the profile's runs.

    Without the drawn points, which no stored run shares.
    """
    return defined_by(protocol_of(profile), profile.points)


def defined_by(protocol: Mapping[str, Any], points: Iterable[Point]) -> str:
    """SHA-256 (hex) over a protocol and points, in whichever order."""
    others = {key: value for key, value in protocol.items() if key != "version"}
    defining = {
        **others,
        "protocol": protocol["version"],
        "points": sorted([point.context_tokens, point.append_tokens] for point in points),
    }
    canonical = json.dumps(defining, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def protocol_behind(definition: str, points: Iterable[Point]) -> Protocol | None:
    """The protocol of a record that does not tell it; None where its hash is of another one.

    `points`: those the record's plan holds. A run of selected experiments holds fewer than its
    hash is of, so what its protocol was cannot be told.
    """
    return dict(UNTOLD) if defined_by(UNTOLD, points) == definition else None
