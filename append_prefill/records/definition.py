"""The definition of a benchmark: what must be the same for two numbers to mean the same."""

from __future__ import annotations

import hashlib
import json

from append_prefill.workload.profile import Profile

# Raise it whenever the same profile would, on the same server, give other numbers or other
# samples than before: when the clock starts or stops elsewhere, when a sample is primed, warmed
# up, flushed, ordered or voided differently, when the token ids are drawn from another range.
# Every stored baseline is then of another definition and has to be measured again, so do not
# raise it for a change of statistics, of reports, or of how often something is measured.
PROTOCOL_VERSION = 1


def definition_of(profile: Profile) -> str:
    """SHA-256 (hex) over the protocol's version, the points, and what a sample is.

    Left out is what only says how often or how it is judged (starts, samples, budget, bounds,
    policy), what the experiments are called, and the drawn points, which no stored run shares.
    """
    plan = profile.plan
    defining = {
        "protocol": PROTOCOL_VERSION,
        "points": [[point.context_tokens, point.append_tokens] for point in profile.points],
        "output_tokens": plan.output_tokens,
        "share_output_tokens": plan.share_output_tokens,
        # The pause decides which state the scheduler and the device's clocks are in when the
        # request arrives, so it is part of what is measured.
        "idle_ms": plan.idle_ms,
    }
    canonical = json.dumps(defining, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
