"""`append-prefill alerts`: what stands, and what was decided about it."""

from __future__ import annotations

import argparse
import getpass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from append_prefill.analysis.trend.alerts import Alert
from append_prefill.cli.history import add_report_dir, as_data
from append_prefill.cli.output import Commands, add_json, print_json, print_table, say
from append_prefill.errors import UsageError
from append_prefill.records.history.rows import Act
from append_prefill.report.format import listed
from append_prefill.report.history.words import STATES, alert_words, life_words, machine_words
from append_prefill.run.history import decide, follow


def register(commands: Commands) -> None:
    parser = commands.add_parser(
        "alerts",
        help="slow-downs that stand, and what was decided about them",
        description="The alerts of a report folder's history.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    shown = actions.add_parser("list", help="the open alerts", description="The open alerts.")
    shown.add_argument("--all", action="store_true", help="those that are closed or accepted, too")
    add_report_dir(shown)
    add_json(shown)
    shown.set_defaults(run=_list)
    accept = actions.add_parser(
        "accept",
        help="live with an alert",
        description="Take an alert as the state of things: --new-only is not red by it.",
    )
    reopen = actions.add_parser(
        "reopen",
        help="let an accepted alert stand again",
        description="Let an accepted alert stand again.",
    )
    for command, kind in ((accept, "accept"), (reopen, "reopen")):
        command.add_argument("alert", metavar="ALERT", help="its id, as `alerts list` shows it")
        command.add_argument("--reason", metavar="TEXT", required=True, help="why")
        command.add_argument("--who", metavar="NAME", help="who says so (default: this user)")
        add_report_dir(command)
        command.set_defaults(run=_decide, kind=kind)


def _list(args: argparse.Namespace) -> int:
    now = datetime.now(UTC)
    histories = follow(args.report_dir)
    chosen = [
        (followed.lineage, [a for a in followed.alerts if a.open or args.all])
        for followed in histories
    ]
    if args.json:
        data = [
            {"history": lineage.id, **as_data(alert)}
            for lineage, alerts in chosen
            for alert in alerts
        ]
        print_json(data)
        return 0
    for lineage, alerts in chosen:
        if alerts:
            print_table(
                machine_words(lineage),
                ["state", "alert", "what", "its life"],
                [_row(alert, now) for alert in reversed(alerts)],
                left=["state", "alert", "what", "its life"],
            )
    if not any(alerts for _, alerts in chosen):
        say("No alert is open." if not args.all else "There was no alert yet.")
    return 0


def _row(alert: Alert, now: datetime) -> list[str]:
    word = STATES[alert.state]
    return [f"{word.sign} {word.word}", alert.id, alert_words(alert), life_words(alert, now)]


def _decide(args: argparse.Namespace) -> int:
    kind: Literal["accept", "reopen"] = args.kind
    if not args.reason.strip():
        raise UsageError("--reason", repr(args.reason), "says nothing.", "Say why.")
    _refuse(_found(args.report_dir, args.alert), kind)
    who = args.who or getpass.getuser()
    act = Act(args.alert, kind, who, args.reason.strip(), datetime.now(UTC))
    decide(args.report_dir, act)
    alert = _found(args.report_dir, args.alert)
    say(f"{alert.id} is {alert.state}: {alert_words(alert)}.")
    return 0


def _found(report_dir: Path, name: str) -> Alert:
    alerts = [alert for followed in follow(report_dir) for alert in followed.alerts]
    for alert in alerts:
        if alert.id == name:
            return alert
    known = listed([alert.id for alert in reversed(alerts)], limit=5) or "none"
    raise UsageError("ALERT", name, "is no alert of this history.", f"There are: {known}.")


def _refuse(alert: Alert, kind: str) -> None:
    """Only what stands can be accepted, and only what was accepted can stand again."""
    if kind == "accept" and not alert.open:
        raise UsageError("ALERT", alert.id, f"is {alert.state}.", "Only an open one is accepted.")
    if kind == "reopen" and alert.state != "accepted":
        raise UsageError("ALERT", alert.id, f"is {alert.state}.", "Only an accepted one reopens.")
