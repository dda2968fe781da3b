"""Totals of usage by day, kept by the database itself as attempts change; those of an older ledger are added up."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

KEYS = ("day", "workspace", "recipe", "model", "preset_name", "prompt_name", "run_facts")
SUMS = (
    "attempts",
    "settled_count",
    "released_count",
    "open_count",
    "unknown_count",
    "unusable_count",
    "again_count",
    "settled_micros",
    "open_micros",
    "unknown_micros",
    "unusable_micros",
    "again_micros",
)

# What one attempt adds to the totals. The triggers, the check and the first filling all ask this view, so that there is
# one definition.
COUNTED = """
CREATE VIEW counted AS
SELECT attempt_id, day, workspace, recipe, model, preset_name, prompt_name, run_facts,
  1 AS attempts,
  is_settled AS settled_count,
  is_released AS released_count,
  is_open AS open_count,
  is_unknown AS unknown_count,
  is_unusable AS unusable_count,
  is_again AS again_count,
  is_settled * micros AS settled_micros,
  is_open * micros AS open_micros,
  is_unknown * micros AS unknown_micros,
  is_unusable * micros AS unusable_micros,
  is_again * micros AS again_micros
FROM (
  SELECT a.id AS attempt_id, a.day, a.workspace, a.recipe, a.model, a.preset_name, a.prompt_name,
    json_array(r.cost_centre, r.git_commit, r.git_dirty, r.labels, r.who) AS run_facts,
    iif(a.state = 'settled', a.billed_micros, a.reserved_micros) AS micros,
    a.state = 'settled' AS is_settled,
    a.state = 'released' AS is_released,
    a.state IN ('reserved', 'sent', 'unknown') AS is_open,
    a.state = 'unknown' AS is_unknown,
    a.state = 'settled' AND a.result_digest IS NULL AS is_unusable,
    a.state = 'settled' AND a.result_digest IS NOT NULL AND EXISTS (
      SELECT 1 FROM attempts e WHERE e.workspace = a.workspace AND e.item_key = a.item_key AND e.state = 'settled'
        AND e.id < a.id AND e.result_digest IS NOT NULL
    ) AS is_again
  FROM attempts a JOIN runs r ON r.id = a.run_id
)
"""


def upgrade() -> None:
    op.create_table(
        "totals",
        *(sa.Column(name, sa.Text(), nullable=False) for name in KEYS),
        *(sa.Column(name, WHOLE, nullable=False) for name in SUMS),
        sa.PrimaryKeyConstraint(*KEYS, name=op.f("pk_totals")),
        sqlite_with_rowid=False,
    )
    op.execute(COUNTED)
    adding = sa.text(
        f"INSERT INTO totals ({', '.join(KEYS + SUMS)}) SELECT {', '.join(KEYS)}, "  # noqa: S608 - names of columns
        f"{', '.join(f'sum({name})' for name in SUMS)} FROM counted WHERE workspace = :workspace AND day = :day "
        f"GROUP BY {', '.join(KEYS)}"
    )
    # Day by day: to sort all attempts of a large ledger at once takes gigabytes.
    for workspace, day in op.get_bind().execute(sa.text("SELECT DISTINCT workspace, day FROM attempts")).all():
        op.get_bind().execute(adding, {"workspace": workspace, "day": day})
    # A change takes out what the attempt counted for, and adds what it counts for now. No bill of an item can come
    # before an older one of it: while an attempt is open, its item is not bought a second time (attempts.live_key).
    moved = (
        "UPDATE OF state, billed_micros, reserved_micros, result_digest ON attempts "
        "WHEN (OLD.state, NEW.state) <> ('reserved', 'sent')"
    )
    op.execute(f"CREATE TRIGGER totals_added AFTER INSERT ON attempts BEGIN {_added(1)} END")
    op.execute(f"CREATE TRIGGER totals_out BEFORE {moved} BEGIN {_added(-1)} END")
    op.execute(f"CREATE TRIGGER totals_in AFTER {moved} BEGIN {_added(1)} END")


def _added(sign: int) -> str:
    told = ", ".join(f"{'' if sign > 0 else '-'}{name}" for name in SUMS)
    adding = ", ".join(f"{name} = {name} + excluded.{name}" for name in SUMS)
    return (
        f"INSERT INTO totals ({', '.join(KEYS + SUMS)}) SELECT {', '.join(KEYS)}, {told} FROM counted "  # noqa: S608
        f"WHERE attempt_id = NEW.id ON CONFLICT DO UPDATE SET {adding};"
    )
