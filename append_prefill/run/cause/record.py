"""From what was profiled to the record of it: functions and kernels ranked, stacks merged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from append_prefill.analysis import profiles
from append_prefill.analysis.kernels import by_family, kernel_differences
from append_prefill.analysis.profiles import Difference, Function, Stack
from append_prefill.analysis.renamed import by_module, renamed, renamings
from append_prefill.analysis.sampled import sampled_differences
from append_prefill.records.cause import (
    Cause,
    FunctionSpent,
    KernelSpent,
    ModuleSpent,
    Spent,
    StackSpent,
)
from append_prefill.run.cause.launch import Measured
from append_prefill.run.cause.where import Moved

FUNCTIONS_KEPT = 200
"""From either end of a ranking. SGLang shows some six hundred; those between differ by less than a
sample."""

STACK_LEAST_MS = 0.01
"""A stack that takes less on both sides is left to the one that it grew from: over three launches
of 400 requests at 100 Hz that is one sample, and narrower than a line of the picture."""

_OUTERMOST = 2  # the process and its first frame, which has no caller


def cause_of(
    moved: Moved,
    pairs: Sequence[tuple[Measured, Measured]],
    *,
    run: str,
    command: str,
    profile: str,
    names: tuple[str, str],
    rate_hz: int,
    profiler: str,
    with_primes: bool = False,
) -> Cause:
    """The record; `pairs` are (candidate, reference), `names` what these two are called."""
    candidates, references = ([pair[side].stacks for pair in pairs] for side in (0, 1))
    waits = profiles.waiting(candidates, references), profiles.waiting(references, candidates)
    (new, waited_new), (old, waited_old) = (
        _without_waits([profiles.per_request(one, left_out) for one in side])
        for side, left_out in zip((candidates, references), waits, strict=True)
    )
    sample_ms = 1000 / rate_hz / min(one.requests for one in (*candidates, *references))
    (own_new, own_old), (whole_new, whole_old) = (
        ([by(one) for one in new], [by(one) for one in old])
        for by in (profiles.self_ms, profiles.inclusive_ms)
    )
    now = renamings(*({key for one in side for key in one} for side in (whole_new, whole_old)))
    own_old, whole_old = ([renamed(one, now) for one in side] for side in (own_old, whole_old))
    own, whole, modules = (
        sampled_differences(*sides, sample_ms=sample_ms)
        for sides in (
            (own_new, own_old),
            (whole_new, whole_old),
            ([*map(by_module, own_new)], [*map(by_module, own_old)]),
        )
    )
    then = {key: was for was, key in now.items()}
    slower = moved.ratio > 1
    kept = [
        *_ends(profiles.ranked(own, slower_first=slower)),
        *(key for key in _ends(profiles.ranked(whole, slower_first=slower)) if key not in own),
    ]
    idle = {stack for one in (*candidates, *references) for stack in one.idle_ms}
    ends = {(stack[0], stack[-1]) for stack in idle.difference(*waits)}
    seen_idle = {now.get(end, end) for end in ends}
    total = _whole(
        [sum(one.values()) for one in new], [sum(one.values()) for one in old], sample_ms
    )
    kernels = _kernels_of(pairs)
    frames, stacks = _stacks(profiles.mean_of(new), profiles.mean_of(old))
    effect, traffic = moved.effect, moved.traffic
    return Cause(
        created_at=datetime.now(UTC),
        run=run,
        command=command,
        profile=profile,
        candidate=names[0],
        reference=names[1],
        experiment=moved.experiment,
        context=traffic.context,
        form=traffic.form,
        company=traffic.company,
        state=traffic.state,
        context_tokens=effect.context_tokens,
        append_tokens=effect.append_tokens,
        ratio=moved.ratio,
        low=moved.low,
        high=moved.high,
        reference_ms=effect.reference_ms,
        candidate_ms=effect.candidate_ms,
        rate_hz=rate_hz,
        profiler=profiler,
        with_primes=with_primes,
        launches=[one.record for pair in pairs for one in pair],
        own_total=total,
        device_wait=_waited(waited_new, waited_old, sample_ms),
        functions_seen=len(whole),
        functions=[
            _function(
                key,
                own.get(key),
                whole[key],
                idle=key in seen_idle,
                was=then.get(key),
            )
            for key in kept
        ],
        modules=[
            ModuleSpent(process=process, name=name, own=_spent(modules[process, name]))
            for process, name in profiles.ranked(modules, slower_first=slower)
        ],
        kernels_total=_kernels_total(kernels),
        kernel_families=_kernels(kernels, slower=slower, summed=by_family),
        kernels=_kernels(kernels, slower=slower, summed=dict),
        names=frames,
        stacks=stacks,
    )


def _ends(ranked: list[Function]) -> list[Function]:
    if len(ranked) <= 2 * FUNCTIONS_KEPT:
        return ranked
    return [*ranked[:FUNCTIONS_KEPT], *ranked[-FUNCTIONS_KEPT:]]


def _function(
    key: Function,
    own: Difference | None,
    whole: Difference,
    *,
    idle: bool,
    was: Function | None,
) -> FunctionSpent:
    process, name = key
    return FunctionSpent(
        process=process,
        name=name,
        own=None if own is None else _spent(own),
        whole=_spent(whole),
        idle=idle,
        was=None if was is None else was[1],
    )


def _spent(found: Difference) -> Spent:
    return Spent(
        reference_ms=found.reference_ms,
        candidate_ms=found.candidate_ms,
        delta_ms=found.delta_ms.value,
        low_ms=found.delta_ms.low,
        high_ms=found.delta_ms.high,
    )


def _without_waits(
    launches: Sequence[dict[Stack, float]],
) -> tuple[list[dict[Stack, float]], list[float]]:
    """The launches' stacks but for waits for the GPU, and what each took of these."""
    split = [profiles.split_waits(one) for one in launches]
    return [kept for kept, _ in split], [waited for _, waited in split]


def _whole(new: Sequence[float], old: Sequence[float], sample_ms: float) -> Spent:
    """The difference of one value a launch."""
    sides = ([{"all": one} for one in side] for side in (new, old))
    return _spent(profiles.differences(*sides, sample_ms=sample_ms)["all"])


def _waited(new: Sequence[float], old: Sequence[float], sample_ms: float) -> Spent | None:
    """Of a side that was never seen to wait nothing is known, and of two neither."""
    found = _whole(new, old, sample_ms)
    seen = {"reference_ms": found.reference_ms or None, "candidate_ms": found.candidate_ms or None}
    return found.model_copy(update=seen) if any(seen.values()) else None


Kernels = tuple[Sequence[Mapping[str, float]], Sequence[Mapping[str, float]]]
"""Ms per request by kernel: of the candidate's launches, and of the reference's."""


def _kernels_of(pairs: Sequence[tuple[Measured, Measured]]) -> Kernels | None:
    """Those of all launches, None where one has none."""
    new, old = ([pair[side].kernels_ms for pair in pairs] for side in (0, 1))
    known_new, known_old = ([one for one in side if one is not None] for side in (new, old))
    if len(known_new) < len(new) or len(known_old) < len(old):
        return None
    return known_new, known_old


def _kernels_total(kernels: Kernels | None) -> Spent | None:
    if kernels is None:
        return None
    new, old = ([sum(one.values()) for one in side] for side in kernels)
    return _whole(new, old, 0.0)


def _kernels(
    kernels: Kernels | None,
    *,
    slower: bool,
    summed: Callable[[Mapping[str, float]], dict[str, float]],
) -> list[KernelSpent] | None:
    if kernels is None:
        return None
    found = kernel_differences(*([summed(one) for one in side] for side in kernels))
    return [
        KernelSpent(name=name, own=_spent(found[name]))
        for name in profiles.ranked(found, slower_first=slower)
    ]


def _stacks(new: dict[Stack, float], old: dict[Stack, float]) -> tuple[list[str], list[StackSpent]]:
    """The names of all frames, and the stacks of both sides; small ones are their callers'."""
    merged = {stack: (old.get(stack, 0.0), new.get(stack, 0.0)) for stack in {**new, **old}}
    for depth in range(max(map(len, merged), default=0), _OUTERMOST, -1):
        for stack in [one for one in merged if len(one) == depth]:
            if max(merged[stack]) < STACK_LEAST_MS:
                ms, caller = merged.pop(stack), stack[:-1]
                at = merged.get(caller, (0.0, 0.0))
                merged[caller] = (at[0] + ms[0], at[1] + ms[1])
    numbers: dict[str, int] = {}
    stacks = [
        StackSpent(
            process=stack[0],
            frames=[numbers.setdefault(frame, len(numbers)) for frame in stack[1:]],
            reference_ms=ms[0],
            candidate_ms=ms[1],
        )
        for stack, ms in sorted(merged.items())
    ]
    return list(numbers), stacks
