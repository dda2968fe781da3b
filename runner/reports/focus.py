"""FinOps FOCUS 1.2 cost and usage: a row for each request that was billed. https://focus.finops.org/focus-specification/v1-2/

What FOCUS has no column for stands in columns that begin with `x_`. Play money is no cost and is left out.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, BinaryIO, TextIO
from zoneinfo import ZoneInfo

from runner.ledger.usage import UsageRow
from runner.money import exact
from runner.reports.book import Book
from runner.reports.csv import cell
from runner.windows import window

PROVIDER = "Omixa"

# What a column holds: text, a moment, money and numbers with six decimals, or key-value pairs.
COLUMNS: Mapping[str, str] = {
    "BilledCost": "decimal",
    "BillingAccountId": "text",
    "BillingAccountName": "text",
    "BillingAccountType": "text",
    "BillingCurrency": "text",
    "BillingPeriodEnd": "moment",
    "BillingPeriodStart": "moment",
    "ChargeCategory": "text",
    "ChargeClass": "text",
    "ChargeDescription": "text",
    "ChargeFrequency": "text",
    "ChargePeriodEnd": "moment",
    "ChargePeriodStart": "moment",
    "ConsumedQuantity": "decimal",
    "ConsumedUnit": "text",
    "ContractedCost": "decimal",
    "ContractedUnitPrice": "decimal",
    "EffectiveCost": "decimal",
    "InvoiceId": "text",
    "InvoiceIssuerName": "text",
    "ListCost": "decimal",
    "ListUnitPrice": "decimal",
    "PricingCategory": "text",
    "PricingCurrency": "text",
    "PricingQuantity": "decimal",
    "PricingUnit": "text",
    "ProviderName": "text",
    "PublisherName": "text",
    "RegionId": "text",
    "RegionName": "text",
    "ResourceId": "text",
    "ResourceName": "text",
    "ResourceType": "text",
    "ServiceCategory": "text",
    "ServiceName": "text",
    "ServiceSubcategory": "text",
    "SkuId": "text",
    "SkuMeter": "text",
    "SkuPriceDetails": "text",
    "SkuPriceId": "text",
    "SubAccountId": "text",
    "SubAccountName": "text",
    "SubAccountType": "text",
    "Tags": "text",
    "x_AttemptId": "text",
    "x_CorrectedDay": "text",
    "x_Day": "text",
    "x_GitCommit": "text",
    "x_Model": "text",
    "x_OutputPath": "text",
    "x_Preset": "text",
    "x_Prompt": "text",
    "x_Recipe": "text",
    "x_RunId": "text",
    "x_Slot": "text",
    "x_SourcePath": "text",
    "x_UsablePicture": "text",
    "x_Who": "text",
}


def is_cost(row: UsageRow) -> bool:
    """Whether an attempt was billed in real money."""
    return row.state == "settled" and len(row.currency) == 3


def records(rows: Iterable[UsageRow], book: Book) -> Iterator[dict[str, Any]]:
    """A charge for each billed attempt: text, aware moments in UTC, Decimal; None where FOCUS wants null.

    A late bill of a window that was closed is a charge of class Correction.
    """
    for row in rows:
        if is_cost(row):
            yield _record(row, book)


def write_csv(rows: Iterable[UsageRow], book: Book, out: TextIO) -> None:
    """Write CSV; null is an empty field, as FOCUS files have it. Text runs as no formula and steers no terminal."""
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for record in records(rows, book):
        writer.writerow([_cell(record[name]) for name in COLUMNS])


def write_parquet(rows: Iterable[UsageRow], book: Book, out: BinaryIO) -> None:
    """Write Parquet; money is decimal(38, 6). Raises UsageError without the extra."""
    from runner.reports import parquet

    parquet.write_records(records(rows, book), COLUMNS, out)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%SZ}"
    return cell(value) if isinstance(value, str) else str(value)


def _record(row: UsageRow, book: Book) -> dict[str, Any]:
    assert row.billed_micros is not None
    assert row.ended_at is not None
    cost, one = Decimal(exact(row.billed_micros)), Decimal("1.000000")
    begin, end = _month(row.day, book.zone(row.workspace, row.day))
    # The day was fixed when the money was reserved; the answer may have come in the next month, and be billed there.
    ended = datetime.fromisoformat(row.ended_at).astimezone(UTC).replace(microsecond=0)
    charged = min(max(ended, begin), end - timedelta(seconds=1))
    tags = {**row.labels, **({} if row.cost_centre is None else {"cost_centre": row.cost_centre})}
    return {
        "BilledCost": cost,
        "BillingAccountId": row.workspace,
        "BillingAccountName": row.workspace,
        "BillingAccountType": "Workspace",
        "BillingCurrency": row.currency,
        "BillingPeriodEnd": end,
        "BillingPeriodStart": begin,
        "ChargeCategory": "Usage",
        "ChargeClass": None if row.before_state is None else "Correction",
        "ChargeDescription": f"{row.model}: one picture, recipe {row.recipe}",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodEnd": charged + timedelta(seconds=1),
        "ChargePeriodStart": charged,
        "ConsumedQuantity": one,
        "ConsumedUnit": "Requests",
        "ContractedCost": cost,
        "ContractedUnitPrice": cost,
        "EffectiveCost": cost,
        "InvoiceId": None,
        "InvoiceIssuerName": PROVIDER,
        "ListCost": cost,
        "ListUnitPrice": cost,
        "PricingCategory": "Standard",
        "PricingCurrency": row.currency,
        "PricingQuantity": one,
        "PricingUnit": "Requests",
        "ProviderName": PROVIDER,
        "PublisherName": PROVIDER,
        "RegionId": None,
        "RegionName": None,
        "ResourceId": row.output_path,
        "ResourceName": row.output_path,
        "ResourceType": "Picture",
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": "Omixa image generations",
        "ServiceSubcategory": "Generative AI",
        "SkuId": row.model,
        "SkuMeter": "Requests",
        "SkuPriceDetails": None,
        "SkuPriceId": f"{row.model} {exact(row.billed_micros)} {row.currency}",
        "SubAccountId": row.recipe,
        "SubAccountName": row.recipe,
        "SubAccountType": "Recipe",
        "Tags": json.dumps(tags, ensure_ascii=True, sort_keys=True),
        "x_AttemptId": str(row.attempt_id),
        "x_CorrectedDay": row.corrected_day,
        "x_Day": row.day,
        "x_GitCommit": row.git_commit,
        "x_Model": row.model,
        "x_OutputPath": row.output_path,
        "x_Preset": row.preset or None,
        "x_Prompt": row.prompt or None,
        "x_Recipe": row.recipe,
        "x_RunId": row.run_uid,
        "x_Slot": row.slot,
        "x_SourcePath": row.source_path or None,
        "x_UsablePicture": "true" if row.has_picture else "false",
        "x_Who": row.who,
    }


def _month(day: str, zone: str) -> tuple[datetime, datetime]:
    """The workspace's month that a local day lies in, as moments; the end is the first moment after it."""
    found = window("month", date.fromisoformat(day), zone)
    assert found.first_day is not None
    assert found.ends_at is not None
    begin = datetime.combine(found.first_day, time(), ZoneInfo(zone)).astimezone(UTC)
    return begin, found.ends_at
