"""Approvals of plans, each used once; a run says who wrote its recipe and who approved it, an older one does not."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "approvals",
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("amount_micros", WHOLE, nullable=False),
        sa.Column("expires_at", sa.Text(), nullable=False),
        sa.Column("approver", sa.Text(), nullable=False),
        sa.Column("signatures", sa.Text(), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("made_at", sa.Text(), nullable=False),
        sa.Column("entry_id", WHOLE, nullable=False),
        sa.CheckConstraint("amount_micros > 0", name=op.f("ck_approvals_amount")),
        sa.PrimaryKeyConstraint("plan", name=op.f("pk_approvals")),
    )
    for name in ("author", "approver", "approval"):
        op.add_column("runs", sa.Column(name, sa.Text(), nullable=True))
    op.create_index(op.f("ix_runs_approval"), "runs", ["approval"], sqlite_where=sa.text("approval IS NOT NULL"))
