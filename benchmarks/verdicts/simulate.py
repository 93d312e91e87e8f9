"""Samples of simulated sessions, and the A/A noise records that would have been stored before."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from append_prefill.analysis.noise import components
from append_prefill.analysis.prior import ASSUMED_DF, ASSUMED_NIGHT_DF, Prior, prior_of
from append_prefill.analysis.summary import faster_half
from append_prefill.records.grounds import NoiseSource
from append_prefill.records.noise import NoiseRecord
from benchmarks.verdicts.rounds import blocks_error
from benchmarks.verdicts.settings import RECORD_SESSIONS, Array, Setting

SESSIONS_PER_SITE = 20  # sessions that share one stored noise record
LAUNCH_HOURS = 2 / 60  # one launch with its samples takes about two minutes
HISTORY = 10  # past sessions that SGLang's monitor averages


@dataclass(frozen=True)
class Sessions:
    """Log samples of both sides, shape (sessions, launches, points, samples).

    `history`: what a monitor has of the past, mean TTFT by session and point (ms). `priors`: each
    site's stored noise, for `SESSIONS_PER_SITE` sessions in turn.
    """

    candidate: Array
    reference: Array
    history: Array
    priors: list[Prior]


def base_log_ms(setting: Setting) -> Array:
    """Log TTFT of the points, in the study's shape: max(floor, per new token) + per cached."""
    m, context = setting.tokens("m"), setting.tokens("L")
    return np.asarray(np.log(np.maximum(19.2, 0.0215 * m) + 0.0015 * context))


def levels(rng: np.random.Generator, setting: Setting, shape: tuple[int, int]) -> Array:
    """Common levels of launches, shape (sessions, launches, 1)."""
    return np.asarray(setting.start_sd * rng.standard_normal((*shape, 1)))


def pair_levels(
    rng: np.random.Generator, setting: Setting, shape: tuple[int, int]
) -> tuple[Array, Array]:
    """Levels of both sides of pairs that are up together: one part is shared."""
    assert setting.pair_sd is not None
    shared = levels(rng, setting, shape)
    own = setting.pair_sd / math.sqrt(2) * rng.standard_normal((2, *shape, 1))
    return shared + own[0], shared + own[1]


def samples(
    rng: np.random.Generator, setting: Setting, common: Array, hours: Array, drift: Array
) -> Array:
    """Log samples, shape (sessions, launches, points, samples).

    `common`: the launches' levels, shape (sessions, launches, 1); `hours` of each, (launches,).
    """
    sessions, launches, _ = common.shape
    count = len(setting.points)
    shape = (sessions, launches, count, setting.samples)
    noise = rng.standard_normal(shape, dtype=np.float32).astype(float)
    lag = setting.lag1[:, None]
    for k in range(1, setting.samples) if setting.lag1.any() else ():
        previous = noise[..., k - 1]
        noise[..., k] = lag[:, 0] * previous + np.sqrt(1 - lag[:, 0] ** 2) * noise[..., k]
    log = base_log_ms(setting)[:, None] + setting.within_sd[:, None] * noise
    outlier = rng.random(log.shape, dtype=np.float32) < setting.outlier_rate
    log += outlier * np.log(setting.outlier_factor)
    cells = setting.cell_sd * rng.standard_normal((sessions, launches, count))
    log += (common + cells + (drift[:, None] * hours)[..., None])[..., None]
    return np.asarray(log)


def draw(
    rng: np.random.Generator, setting: Setting, sessions: int, launches: int, *, across: bool
) -> Sessions:
    """A/A sessions. `across`: the reference comes from another one, its launches one by one."""
    place = np.arange(launches)
    together = setting.paired and not across
    if across or together:
        order_a = order_b = place
    else:  # pairs in the order AB BA AB BA AB
        order_a, order_b = 2 * place + place % 2, 2 * place + 1 - place % 2
    hours_a = np.asarray(order_a * LAUNCH_HOURS, dtype=np.float64)
    hours_b = np.asarray(order_b * LAUNCH_HOURS, dtype=np.float64)
    sign = setting.drift_per_hour * rng.choice([-1.0, 1.0], sessions)
    other = setting.drift_per_hour * rng.choice([-1.0, 1.0], sessions) if across else sign
    shape = (sessions, launches)
    if together:
        level_a, level_b = pair_levels(rng, setting, shape)
    else:
        level_a, level_b = (levels(rng, setting, shape) for _ in range(2))
    candidate = samples(rng, setting, level_a, hours_a, sign)
    reference = samples(rng, setting, level_b, hours_b, other)
    if across:
        candidate += setting.night_sd * rng.standard_normal((sessions, 1, 1, 1))
        reference += setting.night_sd * rng.standard_normal((sessions, 1, 1, 1))
    # A past session's mean over its requests, drawn by its moments: they are many.
    outliers = 1 + setting.outlier_rate * (setting.outlier_factor - 1)
    past = setting.start_sd * rng.standard_normal((sessions, HISTORY, 1)) / np.sqrt(launches)
    past = past + setting.night_sd * rng.standard_normal((sessions, HISTORY, 1))
    history = np.exp(base_log_ms(setting) + past).mean(axis=1) * outliers
    sites = -(-sessions // SESSIONS_PER_SITE)
    return Sessions(candidate, reference, history, [stored(rng, setting) for _ in range(sites)])


def stored(rng: np.random.Generator, setting: Setting) -> Prior:
    """A site's A/A record as `noise_of` would reduce it: four sessions."""
    launches, count = setting.launches, len(setting.points)
    shape = (RECORD_SESSIONS, launches)
    hours = np.arange(launches, dtype=np.float64) * LAUNCH_HOURS
    sign = setting.drift_per_hour * rng.choice([-1.0, 1.0], RECORD_SESSIONS)
    pair_sd = None
    if setting.paired:
        logs = [
            samples(rng, setting, level, hours, sign) for level in pair_levels(rng, setting, shape)
        ]
        sides = [faster_half(log) for log in logs]
        error = blocks_error(*logs)
        # Of a mean over a session's launches; a launch's is so many times that.
        of_rounds = 0.0 if error is None else launches * float(error.mean())
        variance = float(((sides[0] - sides[1]).mean(axis=-1) ** 2).mean())
        pair_sd = math.sqrt(max(0.0, variance - of_rounds))
        table = np.concatenate(sides, axis=1)
    else:
        common = levels(rng, setting, shape)
        table = faster_half(samples(rng, setting, common, hours, sign))
    table += setting.night_sd * rng.standard_normal((RECORD_SESSIONS, 1, 1))
    spread = components(list(table.mean(axis=-1)))
    centred = table - table.mean(axis=1, keepdims=True)
    centred -= centred.mean(axis=-1, keepdims=True)
    in_session = table.shape[1]
    df = RECORD_SESSIONS * (in_session - 1) * (count - 1)
    error = float((centred**2).sum()) / df / count
    assert spread.within is not None
    assert spread.between is not None
    return prior_of(
        NoiseRecord(
            starts=RECORD_SESSIONS * in_session,
            nights=RECORD_SESSIONS,
            start_sd=float(np.sqrt(max(spread.within - error, 0.0))),
            within_sd=None,
            night_sd=float(np.sqrt(spread.between)),
            pair_sd=pair_sd,
            pairs=RECORD_SESSIONS * launches if setting.paired else 0,
            points=[],
        )
    )


def assumed(setting: Setting) -> Prior:
    """A profile's own assumption, here a right one."""
    return Prior(
        setting.start_sd,
        ASSUMED_DF,
        setting.night_sd,
        ASSUMED_NIGHT_DF,
        NoiseSource(kind="profile"),
        pair_sd=setting.pair_sd,
        pair_df=ASSUMED_DF,
    )
