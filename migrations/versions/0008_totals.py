"""Totals of usage by day, kept by the database itself as attempts change; those of an older ledger are added up."""

# ruff: noqa: S608 - SQL made of our own words
import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

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
    "reconciled_count",
    "settled_micros",
    "open_micros",
    "unknown_micros",
    "unusable_micros",
    "again_micros",
    "reconciled_micros",
    "correction_count",
)

# What one attempt adds to the totals. The triggers, the check and the first filling all ask this view, so that there is
# one definition. An attempt of a closed window counts there as it was at the closing; each of its corrections takes
# out, in its own window, what it was, and adds what it became; there are few, and CROSS JOIN begins with them.
COUNTED = """
CREATE VIEW counted AS
SELECT attempt_id, day, workspace, recipe, model, preset_name, prompt_name, run_facts,
  NOT corrects AS attempts,
  is_settled AS settled_count,
  is_released AS released_count,
  is_open - corrects AS open_count,
  is_unknown - was_unknown AS unknown_count,
  is_settled AND NOT has_picture AS unusable_count,
  is_settled AND has_picture AND is_again AS again_count,
  is_settled AND is_reconciled AS reconciled_count,
  is_settled * micros AS settled_micros,
  (is_open - corrects) * reserved_micros AS open_micros,
  (is_unknown - was_unknown) * reserved_micros AS unknown_micros,
  (is_settled AND NOT has_picture) * micros AS unusable_micros,
  (is_settled AND has_picture AND is_again) * micros AS again_micros,
  (is_settled AND is_reconciled) * micros AS reconciled_micros,
  corrects AS correction_count
FROM (
  SELECT a.id AS attempt_id, a.day, a.workspace, a.recipe, a.model, a.preset_name, a.prompt_name,
    {facts} AS run_facts,
    0 AS corrects,
    0 AS was_unknown,
    ifnull(c.before_state, a.state) = 'settled' AS is_settled,
    ifnull(c.before_state, a.state) = 'released' AS is_released,
    ifnull(c.before_state, a.state) IN ('reserved', 'sent', 'unknown') AS is_open,
    ifnull(c.before_state, a.state) = 'unknown' AS is_unknown,
    ifnull(a.billed_micros, 0) AS micros,
    a.reserved_micros,
    a.result_digest IS NOT NULL AS has_picture,
    {again} AS is_again,
    {reconciled_by} a.day {before_closing} AS is_reconciled
  FROM attempts a JOIN runs r ON r.id = a.run_id LEFT JOIN corrections c ON c.attempt_id = a.id AND c.number = 1
  UNION ALL
  SELECT a.id, c.day, a.workspace, a.recipe, a.model, a.preset_name, a.prompt_name,
    {facts},
    1,
    c.before_state = 'unknown',
    c.state = 'settled',
    c.state = 'released',
    c.state IN ('reserved', 'sent', 'unknown'),
    c.state = 'unknown',
    ifnull(c.billed_micros, 0),
    a.reserved_micros,
    a.result_digest IS NOT NULL,
    {again},
    {reconciled_by} c.day {before_closing}
  FROM corrections c CROSS JOIN attempts a ON a.id = c.attempt_id CROSS JOIN runs r ON r.id = a.run_id
)
""".format(
    facts="json_array(r.cost_centre, r.git_commit, r.git_dirty, r.labels, r.who, r.author, r.approver)",
    again="EXISTS (SELECT 1 FROM attempts e WHERE e.workspace = a.workspace AND e.item_key = a.item_key AND "
    "e.state = 'settled' AND e.id < a.id AND e.result_digest IS NOT NULL)",
    # What a file says after a window was closed changes nothing in it.
    reconciled_by="EXISTS (SELECT 1 FROM reconciled p WHERE p.attempt_id = a.id AND p.verdict IN ('matched', 'billed', "
    "'not-billed') AND NOT EXISTS (SELECT 1 FROM closings k WHERE k.workspace = a.workspace AND",
    before_closing="BETWEEN k.first_day AND k.last_day AND k.entry_id < p.entry_id))",
)


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
        f"INSERT INTO totals ({', '.join(KEYS + SUMS)}) SELECT {', '.join(KEYS)}, "
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
    _keep_reconciled()
    op.execute(f"CREATE TRIGGER totals_added AFTER INSERT ON attempts BEGIN {_added(1, 'NEW.id')} END")
    for table, change, attempt in (("", moved, "NEW.id"), ("_correction", "INSERT ON corrections", "NEW.attempt_id")):
        op.execute(f"CREATE TRIGGER totals{table}_out BEFORE {change} BEGIN {_added(-1, attempt)} END")
        op.execute(f"CREATE TRIGGER totals{table}_in AFTER {change} BEGIN {_added(1, attempt)} END")


def _added(sign: int, attempt: str) -> str:
    told = ", ".join(f"{'' if sign > 0 else '-'}{name}" for name in SUMS)
    adding = ", ".join(f"{name} = {name} + excluded.{name}" for name in SUMS)
    return (
        f"INSERT INTO totals ({', '.join(KEYS + SUMS)}) SELECT {', '.join(KEYS)}, {told} FROM counted "
        f"WHERE attempt_id = {attempt} ON CONFLICT DO UPDATE SET {adding};"
    )


def _keep_reconciled() -> None:
    """What a file said comes in by `INSERT … ON CONFLICT DO UPDATE`, before which the triggers of both kinds go off. So
    what is new is only added: before, nothing was reconciled.
    """
    told = ", ".join(name if name.startswith("reconciled") else "0" for name in SUMS)
    adding = ", ".join(f"{name} = {name} + excluded.{name}" for name in SUMS if name.startswith("reconciled"))
    op.execute(
        "CREATE TRIGGER totals_reconciled_added AFTER INSERT ON reconciled WHEN NEW.attempt_id IS NOT NULL BEGIN "
        f"INSERT INTO totals ({', '.join(KEYS + SUMS)}) SELECT {', '.join(KEYS)}, {told} FROM counted "
        f"WHERE attempt_id = NEW.attempt_id ON CONFLICT DO UPDATE SET {adding}; END"
    )
    for when, name, sign in (("BEFORE", "out", -1), ("AFTER", "in", 1)):
        op.execute(
            f"CREATE TRIGGER totals_reconciled_{name} {when} UPDATE ON reconciled WHEN NEW.attempt_id IS NOT NULL "
            f"BEGIN {_added(sign, 'NEW.attempt_id')} END"
        )
