"""Parquet, for whoever reads usage with DuckDB, pandas or a warehouse: a row an attempt, money as decimal(38, 6)."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from typing import Any, BinaryIO

from runner.errors import UsageError
from runner.ledger.usage import UsageRow
from runner.money import exact
from runner.reports.book import Book

INSTALL = "pip install 'omixa-runner[parquet]'"

# So many rows are held in memory.
GROUP = 20_000

COLUMNS: Mapping[str, str] = {
    "attempt": "whole",
    "state": "text",
    "workspace": "text",
    "currency": "text",
    "billed": "decimal",
    "open": "decimal",
    "day": "text",
    "reserved_at": "moment",
    "ended_at": "moment",
    "recipe": "text",
    "recipe_path": "text",
    "git_commit": "text",
    "git_dirty": "truth",
    "run": "text",
    "slot": "text",
    "who": "text",
    "cost_centre": "text",
    "labels": "pairs",
    "model": "text",
    "preset": "text",
    "prompt": "text",
    "source_path": "text",
    "output_path": "text",
    "code": "text",
    "usable_picture": "truth",
    "bought_again": "truth",
    "before_state": "text",
    "corrected_day": "text",
    "reconciled": "truth",
}


def write(rows: Iterable[UsageRow], _: Book, out: BinaryIO) -> None:
    """Write every attempt, whatever its state, and every correction. Raises UsageError without the extra."""
    write_records(map(_record, rows), COLUMNS, out)


def write_records(records: Iterable[Mapping[str, Any]], columns: Mapping[str, str], out: BinaryIO) -> None:
    """Write records with these columns, a row group at a time. Raises UsageError without the extra."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise UsageError("Parquet needs the package pyarrow", INSTALL) from None
    kinds = {
        "text": pa.string(),
        "whole": pa.int64(),
        "decimal": pa.decimal128(38, 6),
        "moment": pa.timestamp("us", tz="UTC"),
        "truth": pa.bool_(),
        "pairs": pa.map_(pa.string(), pa.string()),
    }
    schema = pa.schema([(name, kinds[kind]) for name, kind in columns.items()])
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        for group in _groups(iter(records)):
            writer.write_table(pa.Table.from_pylist([dict(record) for record in group], schema=schema))


def _groups(records: Iterator[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    while group := list(islice(records, GROUP)):
        yield group


def _record(row: UsageRow) -> dict[str, Any]:
    def moment(text: str | None) -> datetime | None:
        return None if text is None else datetime.fromisoformat(text).astimezone(UTC)

    return {
        "attempt": row.attempt_id,
        "state": row.state,
        "workspace": row.workspace,
        "currency": row.currency,
        "billed": None if row.billed_micros is None else Decimal(exact(row.billed_micros)),
        "open": Decimal(exact(row.open_micros)),
        "day": row.day,
        "reserved_at": moment(row.reserved_at),
        "ended_at": moment(row.ended_at),
        "recipe": row.recipe,
        "recipe_path": row.recipe_path,
        "git_commit": row.git_commit,
        "git_dirty": row.git_dirty,
        "run": row.run_uid,
        "slot": row.slot,
        "who": row.who,
        "cost_centre": row.cost_centre,
        "labels": dict(row.labels),
        "model": row.model,
        "preset": row.preset or None,
        "prompt": row.prompt or None,
        "source_path": row.source_path or None,
        "output_path": row.output_path,
        "code": row.code,
        "usable_picture": row.has_picture if row.state == "settled" else None,
        "bought_again": row.again if row.state == "settled" else None,
        "before_state": row.before_state,
        "corrected_day": row.corrected_day,
        "reconciled": row.reconciled if row.state == "settled" else None,
    }
