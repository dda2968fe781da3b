"""The whole record of an attempt, for people and programs: never image bytes, never a key. Pure."""

import csv
import json
from collections.abc import Iterable, Mapping
from typing import Any, TextIO

from runner.diagnostics import masked
from runner.ledger.tables import LIVE_STATES
from runner.ledger.usage import UsageRow
from runner.money import exact
from runner.reports.csv import cell
from runner.terminal import clean, table

LIST_SCHEMA = "omixa.audit.list/1"
ATTEMPT_SCHEMA = "omixa.audit.attempt/1"

Record = dict[str, Any]


def record(attempt: Mapping[str, Any], currency: str) -> Record:
    """An attempt as `usage.attempt` gives it, in sections; money as text with six decimals.

    Moments are UTC; `times.day` is the workspace's local day. None: not known, has not happened, or purged.
    """
    run = attempt["run"]
    held = attempt["reserved_micros"] if attempt["state"] in LIVE_STATES else 0
    whole = {
        "schema": ATTEMPT_SCHEMA,
        "id": attempt["id"],
        "state": attempt["state"],
        "workspace": attempt["workspace"],
        "currency": currency,
        "money": {
            "reserved": exact(attempt["reserved_micros"]),
            "open": exact(held),
            "billed": _exact(attempt["billed_micros"]),
            "billed_text": attempt["billed_text"],
            "breach": attempt["breach"],
        },
        "times": {name: attempt[name] for name in ("day", "reserved_at", "sent_at", "ended_at")},
        "run": {name: run[name] for name in _RUN},
        "asked": {name: attempt[name] for name in _ASKED},
        "answer": {name: attempt[name] for name in _ANSWER},
        "result": {name: attempt[f"result_{name}"] for name in ("digest", "bytes", "width", "height")}
        | {"remark": attempt["remark"]},
        "entries": [
            {
                "id": entry["id"],
                "at": entry["at"],
                "kind": entry["kind"],
                "open": exact(entry["open_micros"]),
                "settled": exact(entry["settled_micros"]),
                "who": entry["who"],
                "note": entry["note"],
            }
            for entry in attempt["entries"]
        ],
    }
    kept: Record = _masked(whole)
    return kept


_RUN = (
    *("uid", "who", "program", "recipe", "recipe_path", "recipe_digest", "git_commit", "git_dirty", "slot"),
    *("cost_centre", "labels", "started_at", "ended_at", "outcome", "author", "approver", "approval"),
)
_ASKED = (
    *("model", "item_key", "source_path", "source_digest", "source_bytes", "preset_name", "options"),
    *("prompt_name", "prompt", "prompt_digest", "negative_prompt", "negative_digest", "output_path"),
)
_ANSWER = ("code", "message", "status", "request_id", "headers", "body_head")
_SECTIONS = ("money", "times", "run", "asked", "answer", "result")


def _exact(micros: int | None) -> str | None:
    return None if micros is None else exact(micros)


def _masked(value: Any) -> Any:
    """Nothing that looks like a key leaves here, wherever it came from: an answer, a file name, a note."""
    match value:
        case str():
            return masked(value)
        case dict():
            return {name: _masked(part) for name, part in value.items()}
        case list():
            return [_masked(part) for part in value]
        case _:
            return value


# ---- one attempt, for a person


def text(whole: Record) -> str:
    """The record on a terminal: every section, then the entries of the ledger; cleaned."""
    head = f"attempt {whole['id']} · {whole['state']} · workspace {whole['workspace']} · {whole['currency']}"
    parts = [clean(head)]
    for section in _SECTIONS:
        pairs = [(name, line) for name, value in whole[section].items() for line in _lines(value)]
        parts.append("\n".join([section, *_indented(pairs)]))
    entries = [[e["at"], e["kind"], e["open"], e["settled"], e["who"], e["note"] or ""] for e in whole["entries"]]
    parts.append(
        "entries\n" + table(["  at", "kind", "open", "settled", "who", "note"], _shifted(entries), right={2, 3})
    )
    if whole["state"] == "unknown":
        parts.append(f"it may have been billed: omixa resolve {whole['id']} --billed AMOUNT | --not-billed --note TEXT")
    return "\n\n".join(parts)


def _lines(value: Any) -> list[str]:
    """A value as lines; text keeps its own."""
    match value:
        case None:
            return ["–"]
        case bool():
            return ["yes" if value else "no"]
        case dict():
            return [f"{name} = {part}" for name, part in value.items()] or ["–"]
        case str():
            return value.split("\n") if value else ["–"]
        case _:
            return [str(value)]


def _indented(pairs: list[tuple[str, str]]) -> list[str]:
    """Name and value on each line; a name that goes on over several lines is said once."""
    width = max(len(name) for name, _ in pairs)
    shown: list[str] = []
    before = ""
    for name, line in pairs:
        shown.append(f"  {('' if name == before else name).ljust(width)}  {clean(line)}".rstrip())
        before = name
    return shown


def _shifted(rows: list[list[str]]) -> list[list[str]]:
    return [[f"  {row[0]}", *row[1:]] for row in rows]


# ---- many attempts


def summary(row: UsageRow) -> Record:
    """One attempt on a line of `audit list`; money as text with six decimals."""
    listed: Record = _masked(
        {
            "id": row.attempt_id,
            "state": row.state,
            "day": row.day,
            "reserved_at": row.reserved_at,
            "ended_at": row.ended_at,
            "workspace": row.workspace,
            "recipe": row.recipe,
            "git_commit": row.git_commit,
            "git_dirty": row.git_dirty,
            "who": row.who,
            "source_path": row.source_path,
            "output_path": row.output_path,
            "currency": row.currency,
            "billed": _exact(row.billed_micros),
            "open": exact(row.open_micros),
            "code": row.code,
        }
    )
    return listed


def listing(summaries: Iterable[Record]) -> str:
    """The summaries as a table, cleaned."""
    header = ["id", "reserved at (UTC)", "state", "workspace", "recipe", "source", "billed", "open", "", "code"]
    rows = [
        [
            str(listed["id"]),
            listed["reserved_at"][:19].replace("T", " "),
            listed["state"],
            listed["workspace"],
            listed["recipe"],
            listed["source_path"] or "–",
            listed["billed"] or "–",
            listed["open"],
            listed["currency"],
            listed["code"] or "–",
        ]
        for listed in summaries
    ]
    return table(header, rows, right={0, 6, 7})


def write_jsonl(records: Iterable[Record], out: TextIO) -> None:
    """One record a line, each complete in itself."""
    for whole in records:
        out.write(json.dumps(whole) + "\n")


def write_csv(records: Iterable[Record], out: TextIO) -> None:
    """One record a row, for spreadsheets: `section.name` columns; labels, options and headers as JSON text.

    The entries are left out: they are lines of their own, and stand in the JSON lines.
    """
    writer = csv.writer(out)
    writer.writerow(_COLUMNS)
    for whole in records:
        row = {name: whole[name] for name in _TOP} | {
            f"{section}.{name}": value for section in _SECTIONS for name, value in whole[section].items()
        }
        writer.writerow([_csv_value(row[name]) for name in _COLUMNS])


_TOP = ("id", "state", "workspace", "currency")
_COLUMNS = (
    *_TOP,
    *(f"money.{name}" for name in ("reserved", "open", "billed", "billed_text", "breach")),
    *(f"times.{name}" for name in ("day", "reserved_at", "sent_at", "ended_at")),
    *(f"run.{name}" for name in _RUN),
    *(f"asked.{name}" for name in _ASKED),
    *(f"answer.{name}" for name in _ANSWER),
    *(f"result.{name}" for name in ("digest", "bytes", "width", "height", "remark")),
)


def _csv_value(value: Any) -> str | int:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int():
            return value
        case dict():
            return cell(json.dumps(value, sort_keys=True, ensure_ascii=False))
        case _:
            return cell(value)


WRITERS = {"jsonl": write_jsonl, "csv": write_csv}
