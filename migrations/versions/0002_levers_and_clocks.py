"""Stops, grants and breaches as records of their own, a clock that is checked, and a ledger that can be frozen.

An older ledger keeps a workspace that was stopped by a breach stopped.
"""

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "ledger_state",
        sa.Column("id", WHOLE, nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("boot", sa.Text(), nullable=True),
        sa.Column("boot_ns", WHOLE, nullable=True),
        sa.Column("boot_at", sa.Text(), nullable=True),
        sa.Column("clock_doubt", sa.Text(), nullable=True),
        sa.Column("frozen_reason", sa.Text(), nullable=True),
        sa.CheckConstraint("id = 1", name=op.f("ck_ledger_state_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_state")),
    )
    op.execute(sa.text("INSERT INTO ledger_state (id, uid) VALUES (1, :uid)").bindparams(uid=uuid.uuid4().hex))
    op.create_table(
        "levers",
        sa.Column("id", WHOLE, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("workspace", sa.Text(), nullable=True),
        sa.Column("period", sa.Text(), nullable=True),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("amount_micros", WHOLE, nullable=True),
        sa.Column("until", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.Text(), nullable=True),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.Column("ended_note", sa.Text(), nullable=True),
        sa.CheckConstraint("kind IN ('stop', 'breach', 'grant')", name=op.f("ck_levers_kind")),
        sa.CheckConstraint(
            "(kind = 'grant') = (amount_micros IS NOT NULL)", name=op.f("ck_levers_grant_has_an_amount")
        ),
        sa.CheckConstraint("amount_micros IS NULL OR amount_micros > 0", name=op.f("ck_levers_amount")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_levers")),
    )
    op.create_index(
        "ix_levers_active",
        "levers",
        ["workspace"],
        unique=False,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.execute(
        "INSERT INTO levers (kind, workspace, reason, who, at) "
        "SELECT 'breach', name, stopped_reason, coalesce((SELECT who FROM entries WHERE kind = 'breach' "
        "AND entries.workspace = workspaces.name ORDER BY id DESC LIMIT 1), 'omixa'), stopped_at "
        "FROM workspaces WHERE stopped_reason IS NOT NULL ORDER BY name"
    )
    op.drop_column("workspaces", "stopped_reason")
    op.drop_column("workspaces", "stopped_at")
