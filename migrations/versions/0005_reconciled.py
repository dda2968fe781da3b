"""What a provider's invoice said of each attempt, told whole by an entry of the chain; an older ledger has none yet."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "reconciled",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("attempt_id", WHOLE, nullable=True),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=True),
        sa.Column("ours_micros", WHOLE, nullable=True),
        sa.Column("theirs_micros", WHOLE, nullable=True),
        sa.Column("line_key", sa.Text(), nullable=True),
        sa.Column("billed_at", sa.Text(), nullable=True),
        sa.Column("invoice", sa.Text(), nullable=False),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("file_digest", sa.Text(), nullable=False),
        sa.Column("line", WHOLE, nullable=True),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("entry_id", WHOLE, nullable=False),
        sa.CheckConstraint(
            "verdict IN ('matched', 'billed', 'not-billed', 'differs', 'only-ours', 'only-theirs', 'duplicate', "
            "'credit', 'billed-released', 'explained')",
            name=op.f("ck_reconciled_verdict"),
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_reconciled")),
    )
    op.create_index("ix_reconciled_attempt", "reconciled", ["attempt_id", "verdict"], unique=False)
