"""Schedules, their slots, and alerts, each row told whole by an entry of the chain; an older ledger has none yet."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
OPEN = "state IN ('waiting', 'running')"


def upgrade() -> None:
    op.create_table(
        "schedules",
        sa.Column("recipe", sa.Text(), nullable=False),
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("timing", sa.Text(), nullable=True),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("since", sa.Text(), nullable=False),
        sa.Column("paused_at", sa.Text(), nullable=True),
        sa.Column("paused_by", sa.Text(), nullable=True),
        sa.Column("paused_reason", sa.Text(), nullable=True),
        sa.Column("entry_id", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("recipe", name=op.f("pk_schedules")),
    )
    op.create_table(
        "slots",
        sa.Column("id", WHOLE, nullable=False),
        sa.Column("recipe", sa.Text(), nullable=False),
        sa.Column("due_at", sa.Text(), nullable=False),
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("run_uid", sa.Text(), nullable=True),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("claimed_at", sa.Text(), nullable=False),
        sa.Column("begun_at", sa.Text(), nullable=True),
        sa.Column("ended_at", sa.Text(), nullable=True),
        sa.Column("expected_micros", WHOLE, nullable=True),
        sa.Column("billed_micros", WHOLE, nullable=True),
        sa.Column("bought", sa.Integer(), nullable=True),
        sa.Column("entry_id", WHOLE, nullable=False),
        sa.CheckConstraint(
            "state IN ('waiting', 'running', 'ran', 'skipped', 'refused', 'failed', 'missed', 'overlapped')",
            name=op.f("ck_slots_state"),
        ),
        sa.CheckConstraint(f"({OPEN}) = (ended_at IS NULL)", name=op.f("ck_slots_open_has_no_end")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_slots")),
        sa.UniqueConstraint("recipe", "due_at", name=op.f("uq_slots_recipe_due_at")),
    )
    op.create_index(
        "ix_slots_open", "slots", ["recipe"], unique=False, sqlite_where=sa.text(OPEN), postgresql_where=sa.text(OPEN)
    )
    op.create_index("ix_slots_due", "slots", ["due_at"], unique=False)
    op.create_table(
        "alerts",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("workspace", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=True),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("entry_id", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_alerts")),
    )
    op.create_table(
        "alert_sendings",
        sa.Column("alert", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("entry_id", WHOLE, nullable=False),
        sa.CheckConstraint("state IN ('waiting', 'sent', 'given-up')", name=op.f("ck_alert_sendings_state")),
        sa.CheckConstraint(
            "(state = 'waiting') = (next_at IS NOT NULL)", name=op.f("ck_alert_sendings_waiting_has_a_moment")
        ),
        sa.PrimaryKeyConstraint("alert", "channel", name=op.f("pk_alert_sendings")),
    )
    op.create_index(
        "ix_alert_sendings_waiting",
        "alert_sendings",
        ["next_at"],
        unique=False,
        sqlite_where=sa.text("state = 'waiting'"),
        postgresql_where=sa.text("state = 'waiting'"),
    )
