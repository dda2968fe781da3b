"""Closed windows and corrections, guarded by triggers; in an older ledger no window is closed yet."""

# ruff: noqa: S608 - the SQL of triggers, made of our own words
import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

SAY = "SELECT RAISE(ABORT, 'closed: in a closed window nothing changes any more; what comes later is a correction')"

# Never different again, once a window is closed. What is in MOVING goes with a correction; what is in ANSWER and in
# PROMPTS may also be removed, as `omixa audit purge` does.
FIXED = (
    *("id", "run_id", "workspace", "recipe", "model", "item_key", "source_path", "source_digest", "source_bytes"),
    *("prompt_name", "preset_name", "options", "output_path", "reserved_micros", "day", "reserved_at", "sent_at"),
)
MOVING = (
    *("state", "live_key", "billed_micros", "billed_text", "breach", "code", "status", "request_id", "result_digest"),
    *("result_bytes", "result_width", "result_height", "remark", "ended_at"),
)
ANSWER = ("message", "headers", "body_head")
PROMPTS = ("prompt_digest", "negative_digest")
OF_RUN = (
    *("id", "uid", "workspace", "recipe", "recipe_path", "recipe_digest", "git_commit", "git_dirty", "slot"),
    *("cost_centre", "labels", "who", "program", "started_at", "author", "approver", "approval"),
)


def upgrade() -> None:
    op.create_table(
        "closings",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("last_day", sa.Text(), nullable=False),
        sa.Column("first_day", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("program", sa.Text(), nullable=False),
        sa.Column("totals", sa.Text(), nullable=False),
        sa.Column("budgets", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("entry_id", WHOLE, nullable=False),
        sa.CheckConstraint("first_day <= last_day", name=op.f("ck_closings_days")),
        sa.PrimaryKeyConstraint("workspace", "last_day", name=op.f("pk_closings")),
    )
    op.create_table(
        "corrections",
        sa.Column("attempt_id", WHOLE, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("before_state", sa.Text(), nullable=False),
        sa.Column("before_code", sa.Text(), nullable=True),
        sa.Column("before_picture", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("billed_micros", WHOLE, nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("entry_id", WHOLE, nullable=False),
        sa.CheckConstraint("before_state IN ('reserved', 'sent', 'unknown')", name=op.f("ck_corrections_before")),
        sa.CheckConstraint(
            "state IN ('unknown', 'settled', 'released') AND state <> before_state", name=op.f("ck_corrections_state")
        ),
        sa.CheckConstraint(
            "(state = 'settled') = (billed_micros IS NOT NULL)", name=op.f("ck_corrections_settled_is_billed")
        ),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempts.id"], name=op.f("fk_corrections_attempt_id_attempts")),
        sa.PrimaryKeyConstraint("attempt_id", "number", name=op.f("pk_corrections")),
    )
    op.create_index("ix_corrections_day", "corrections", ["workspace", "day"], unique=False)
    _guard_attempts()
    _guard_runs()
    _guard_closings()


def _closed_to(workspace: str) -> str:
    """The last closed day of a workspace, NULL where none is: one step into the primary key of closings."""
    return f"(SELECT max(last_day) FROM closings WHERE workspace = {workspace})"


def _same(columns: tuple[str, ...]) -> str:
    return " AND ".join(f"NEW.{name} IS OLD.{name}" for name in columns)


def _trigger(name: str, event: str, when: str, say: str = SAY) -> None:
    op.execute(f"CREATE TRIGGER {name} BEFORE {event} WHEN {when} BEGIN {say}; END")


def _guard_attempts() -> None:
    new, old = (f"{row}.day <= {_closed_to(f'{row}.workspace')}" for row in ("NEW", "OLD"))
    # INSERT OR REPLACE and UPDATE OR REPLACE remove the row that is in the way, without a DELETE trigger.
    in_the_way = (
        "EXISTS (SELECT 1 FROM attempts a WHERE (a.id = NEW.id OR (a.workspace = NEW.workspace AND "
        f"a.live_key = NEW.live_key)) AND a.day <= {_closed_to('a.workspace')}{{}})"
    )
    _trigger("attempts_closed_insert", "INSERT ON attempts", f"{new} OR {in_the_way.format('')}")
    _trigger("attempts_closed_delete", "DELETE ON attempts", old)
    _trigger(
        "attempts_closed_move",
        "UPDATE OF id, workspace, day ON attempts",
        f"{new} OR {in_the_way.format(' AND a.id <> OLD.id')}",
    )
    _trigger(
        "attempts_closed_replace",
        "UPDATE OF live_key ON attempts",
        f"NEW.live_key IS NOT NULL AND {in_the_way.format(' AND a.id <> OLD.id')}",
    )
    purged = [f"NEW.{name} IS OLD.{name} OR NEW.{name} IS NULL" for name in ANSWER]
    purged += [f"NEW.{name} IS OLD.{name} OR (NEW.{name} = 'purged' AND OLD.{name} IS NOT NULL)" for name in PROMPTS]
    is_purge = f"{_same(MOVING)} AND {' AND '.join(f'({one})' for one in purged)}"
    is_corrected = (
        f"{_same(PROMPTS)} AND EXISTS (SELECT 1 FROM corrections c WHERE c.attempt_id = OLD.id AND "
        "c.before_state = OLD.state AND c.state = NEW.state AND c.billed_micros IS NEW.billed_micros AND "
        "c.code IS NEW.code)"
    )
    allowed = f"{_same(FIXED)} AND (({is_purge}) OR ({is_corrected}))"
    _trigger("attempts_closed_update", "UPDATE ON attempts", old, f"{SAY} WHERE NOT ({allowed})")


def _guard_runs() -> None:
    def closed(row: str) -> str:
        return (
            f"EXISTS (SELECT 1 FROM attempts a WHERE a.run_id = {row}.id AND a.day <= {_closed_to(f'{row}.workspace')})"
        )

    _trigger("runs_closed_update", f"UPDATE OF {', '.join(OF_RUN)} ON runs", closed("OLD"))
    _trigger("runs_closed_end", "UPDATE OF ended_at, outcome ON runs", f"OLD.ended_at IS NOT NULL AND {closed('OLD')}")
    _trigger("runs_closed_delete", "DELETE ON runs", closed("OLD"))
    _trigger(
        "runs_closed_insert",
        "INSERT ON runs",
        f"EXISTS (SELECT 1 FROM runs r WHERE (r.id = NEW.id OR r.uid = NEW.uid) AND {closed('r')})",
    )
    for event, row in (("UPDATE", "OLD"), ("DELETE", "OLD"), ("INSERT", "NEW")):
        _trigger(
            f"workspaces_closed_{event.lower()}",
            f"{event} ON workspaces",
            f"{_closed_to(f'{row}.name')} IS NOT NULL",
        )


def _guard_closings() -> None:
    for table in ("closings", "corrections"):
        for event in ("UPDATE", "DELETE"):
            _trigger(f"{table}_no_{event.lower()}", f"{event} ON {table}", "1")
    _trigger("closings_in_order", "INSERT ON closings", f"NEW.first_day <= {_closed_to('NEW.workspace')}")
    # It is of a closed attempt as that stands, falls into an open window, and takes nobody's place.
    fits = (
        "EXISTS (SELECT 1 FROM attempts a WHERE a.id = NEW.attempt_id AND a.workspace = NEW.workspace AND "
        f"a.state = NEW.before_state AND a.day <= {_closed_to('NEW.workspace')} AND "
        f"NEW.day > {_closed_to('NEW.workspace')})"
    )
    taken = "EXISTS (SELECT 1 FROM corrections c WHERE c.attempt_id = NEW.attempt_id AND c.number >= NEW.number)"
    _trigger("corrections_in_open", "INSERT ON corrections", f"{taken} OR NOT {fits}")
