"""The report as one self-contained HTML page: no font, script or image from elsewhere."""

from __future__ import annotations

import base64

from append_prefill.records.run import Run
from append_prefill.report import charts, curves, panel, plane, tables
from append_prefill.report import format as fmt
from append_prefill.report.components import noise_rows, own_rows, rests_on
from append_prefill.report.differs import differences_of
from append_prefill.report.exports import points_csv
from append_prefill.report.headline import headline_of
from append_prefill.report.history import drawing
from append_prefill.report.history.note import HistoryNote
from append_prefill.report.invalid import void_blocks, void_reasons
from append_prefill.report.names import candidate_name, pytest_command
from append_prefill.report.next_step import LATEST
from append_prefill.report.pd_pair_chart import is_of_a_pair, pair_charts
from append_prefill.report.routing import PEERS, routing_rows
from append_prefill.report.spent import spent_words
from append_prefill.report.spreads import P99_SAMPLES
from append_prefill.report.surface import steps_words, surface_rows
from append_prefill.report.templating import ENVIRONMENT
from append_prefill.report.traffic_charts import traffic_charts
from append_prefill.report.traffic_tables import traffic_rows
from append_prefill.report.words import WORDS
from append_prefill.workload.profile import Profile

SHOWN_DIFFERENCES = 5
"""More would push the verdict's own words off the first screen; the others are linked."""

TRANSFER = "kv_transfer_time"


def render_html(
    run: Run,
    *,
    profile: Profile | None = None,
    baseline: Run | None = None,
    history: HistoryNote | None = None,
    folder: str = LATEST,
) -> str:
    """`run` as a page. `profile` adds titles and policy, `baseline` the stored run's intervals.

    `history` is what to say of the history it is the last session of; `folder`, where the record
    lies, is what the page's commands name.
    """
    baseline = baseline if _was_compared(run) else None
    must_catch = profile.policy.must_catch if profile else None
    points, forest = tables.point_rows(run, baseline, must_catch)
    subject, two_sided = tables.subject_rows(run, baseline)
    starts, traffic = tables.start_rows(run), traffic_rows(run)
    csv = base64.b64encode(points_csv(points, traffic).encode()).decode()
    of_a_pair = is_of_a_pair(run)
    planes = (
        [] if of_a_pair else [plane.plane_of(run, frame) for frame in (plane.WIDE, plane.NARROW)]
    )
    return ENVIRONMENT.get_template("report.html.j2").render(
        run=run,
        profile=profile,
        history=history,
        spark=drawing,
        name=candidate_name(run),
        headline=headline_of(run, folder),
        words=WORDS,
        charts=charts.charts_of(run, profile, baseline),
        chart_size=curves,
        panel_size=panel,
        traffic=traffic,
        traffic_charts=traffic_charts(run, traffic, baseline),
        planes=[drawn for drawn in planes if drawn is not None],
        differences=differences_of(run, baseline),
        shown_differences=SHOWN_DIFFERENCES,
        p99_samples=P99_SAMPLES,
        points=points,
        csv=csv,
        forest=forest,
        forest_width=tables.FOREST_WIDTH,
        joint=tables.joint_rows(run.comparison),
        surface=surface_rows(run),
        surface_steps=[] if run.surface is None else steps_words(run.surface),
        void_reasons=void_reasons(run),
        void_blocks=void_blocks(run),
        starts=starts,
        launches_telling=any(tables.is_telling(row) for row in starts),
        spent=spent_words(run),
        subject=subject,
        two_sided=two_sided,
        identity=fmt.flatten(run.identity),
        state=fmt.flatten(run.state),
        pair_charts=pair_charts(run),
        of_a_pair=of_a_pair,
        routing=routing_rows(run, profile),
        routing_peers=PEERS,
        transfer=next((f for f in run.findings if f.id == TRANSFER), None),
        client_adds=_client_adds(run),
        command=pytest_command(run),
        own_noise=[] if profile is None else own_rows(run, profile.plane),
        stored_noise=[] if run.noise is None else noise_rows(run.noise),
        noise_from=None if run.noise is None else rests_on(run.noise),
    )


def _client_adds(run: Run) -> str | None:
    """What the client itself adds to a time, in ms; None where it was not measured.

    It is a difference of neighbouring requests, and where it scatters about nothing it may come out
    below: no client is faster than none.
    """
    floors = [s.client_floor_ms for s in run.starts if s.client_floor_ms is not None]
    if not floors:
        return None
    least, most = min(floors), max(floors)
    return fmt.interval(least, most) if least > 0 else f"at most {fmt.number(max(-least, most))}"


def _was_compared(run: Run) -> bool:
    """Whether a stored run was compared with, so that its curve says something of this run."""
    comparison = run.comparison
    held = [] if comparison is None else [comparison, *comparison.others]
    return any(c.kind == "baseline" and c.verdict != "not-comparable" for c in held)
