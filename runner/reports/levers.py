"""Stops, breaches and grants, for people and programs. Pure."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from runner.diagnostics import masked
from runner.ledger.values import Lever
from runner.money import exact
from runner.terminal import clean, table
from runner.windows import local_text

SCHEMA = "omixa.audit.levers/1"


def record(lever: Lever, currency: str | None) -> dict[str, Any]:
    """A lever as JSON has it: money as text with six decimals, moments in UTC, None where it does not apply."""
    return {
        "id": lever.id,
        "kind": lever.kind,
        "workspace": lever.workspace,
        "window": None if lever.period is None else f"{lever.period} {lever.label}",
        "amount": None if lever.amount_micros is None else exact(lever.amount_micros),
        "currency": None if lever.amount_micros is None else currency,
        "until": lever.until,
        "reason": masked(lever.reason),
        "who": lever.who,
        "at": lever.at,
        "ended_at": lever.ended_at,
        "ended_by": lever.ended_by,
        "ended_note": None if lever.ended_note is None else masked(lever.ended_note),
    }


def sentence(lever: dict[str, Any], zone: str) -> str:
    """A record that is in force, in words: who, since when, until when, why."""
    since = local_text(datetime.fromisoformat(lever["at"]), zone)
    until = "" if lever["until"] is None else f" until {local_text(datetime.fromisoformat(lever['until']), zone)}"
    match lever["kind"]:
        case "grant":
            more = f"{lever['amount']} {lever['currency']} more for {lever['window']}"
            return f"grant {lever['id']}: {more}{until}, by {lever['who']} on {since}: {lever['reason']}"
        case "breach":
            return f"stopped by a breach on {since}: {lever['reason']}"
        case _:
            what = "everything is stopped" if lever["workspace"] is None else "stopped"
            return f"{what}{until}, by {lever['who']} on {since}: {lever['reason']}"


def listing(records: Sequence[dict[str, Any]]) -> str:
    """The records as a table, cleaned."""
    header = ["id", "kind", "workspace", "what", "by", "at (UTC)", "until (UTC)", "why", "ended (UTC)", "by", "note"]
    rows = [
        [
            str(one["id"]),
            one["kind"],
            one["workspace"] or "everywhere",
            "nothing is sent" if one["amount"] is None else f"+{one['amount']} {one['currency']} {one['window']}",
            one["who"],
            _short(one["at"]),
            _short(one["until"]),
            clean(one["reason"]),
            _short(one["ended_at"]),
            one["ended_by"] or "–",
            clean(one["ended_note"] or "–"),
        ]
        for one in records
    ]
    return table(header, rows, right={0})


def _short(moment: str | None) -> str:
    return "–" if moment is None else moment[:16].replace("T", " ")
