"""The first ledger: workspaces, runs, attempts, append-only entries, budget windows, prices and deliveries."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "budget_windows",
        sa.Column("id", WHOLE, nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("ends_at", sa.Text(), nullable=True),
        sa.Column("cap_micros", WHOLE, nullable=False),
        sa.Column("open_micros", WHOLE, nullable=False),
        sa.Column("settled_micros", WHOLE, nullable=False),
        sa.CheckConstraint("scope IN ('workspace', 'recipe', 'run')", name=op.f("ck_budget_windows_scope")),
        sa.CheckConstraint("open_micros >= 0", name=op.f("ck_budget_windows_open")),
        sa.CheckConstraint("settled_micros >= 0", name=op.f("ck_budget_windows_settled")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_budget_windows")),
        sa.UniqueConstraint(
            "workspace",
            "scope",
            "name",
            "period",
            "label",
            name=op.f("uq_budget_windows_workspace_scope_name_period_label"),
        ),
    )
    op.create_table(
        "deliveries",
        sa.Column("output_path", sa.Text(), nullable=False),
        sa.Column("item_key", sa.Text(), nullable=False),
        sa.Column("result_digest", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("output_path", name=op.f("pk_deliveries")),
    )
    op.create_table(
        "prices",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("settled_count", WHOLE, nullable=False),
        sa.Column("highest_micros", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("workspace", "model", name=op.f("pk_prices")),
    )
    op.create_table(
        "texts",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_texts")),
    )
    op.create_table(
        "workspaces",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("stopped_reason", sa.Text(), nullable=True),
        sa.Column("stopped_at", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_workspaces")),
    )
    op.create_table(
        "runs",
        sa.Column("id", WHOLE, nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("recipe", sa.Text(), nullable=False),
        sa.Column("recipe_path", sa.Text(), nullable=False),
        sa.Column("recipe_digest", sa.Text(), nullable=False),
        sa.Column("git_commit", sa.Text(), nullable=True),
        sa.Column("git_dirty", sa.Integer(), nullable=True),
        sa.Column("slot", sa.Text(), nullable=True),
        sa.Column("cost_centre", sa.Text(), nullable=True),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("program", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["workspace"], ["workspaces.name"], name=op.f("fk_runs_workspace_workspaces")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
        sa.UniqueConstraint("uid", name=op.f("uq_runs_uid")),
    )
    op.create_index(
        "ix_runs_open",
        "runs",
        ["ended_at"],
        unique=False,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "attempts",
        sa.Column("id", WHOLE, nullable=False),
        sa.Column("run_id", WHOLE, nullable=False),
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("recipe", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("item_key", sa.Text(), nullable=False),
        sa.Column("live_key", sa.Text(), nullable=True),
        sa.Column("source_path", sa.Text(), nullable=False),
        sa.Column("source_digest", sa.Text(), nullable=False),
        sa.Column("source_bytes", WHOLE, nullable=False),
        sa.Column("prompt_name", sa.Text(), nullable=False),
        sa.Column("prompt_digest", sa.Text(), nullable=False),
        sa.Column("negative_digest", sa.Text(), nullable=True),
        sa.Column("preset_name", sa.Text(), nullable=False),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("output_path", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reserved_micros", WHOLE, nullable=False),
        sa.Column("billed_micros", WHOLE, nullable=True),
        sa.Column("billed_text", sa.Text(), nullable=True),
        sa.Column("breach", sa.Integer(), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("headers", sa.Text(), nullable=True),
        sa.Column("body_head", sa.Text(), nullable=True),
        sa.Column("result_digest", sa.Text(), nullable=True),
        sa.Column("result_bytes", WHOLE, nullable=True),
        sa.Column("result_width", sa.Integer(), nullable=True),
        sa.Column("result_height", sa.Integer(), nullable=True),
        sa.Column("remark", sa.Text(), nullable=True),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("reserved_at", sa.Text(), nullable=False),
        sa.Column("sent_at", sa.Text(), nullable=True),
        sa.Column("ended_at", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(state = 'settled') = (billed_micros IS NOT NULL)", name=op.f("ck_attempts_settled_is_billed")
        ),
        sa.CheckConstraint(
            "(state IN ('reserved', 'sent', 'unknown')) = (live_key IS NOT NULL)", name=op.f("ck_attempts_live_has_key")
        ),
        sa.CheckConstraint(
            "state IN ('reserved', 'sent', 'unknown', 'settled', 'released')", name=op.f("ck_attempts_state")
        ),
        sa.CheckConstraint("billed_micros IS NULL OR billed_micros >= 0", name=op.f("ck_attempts_billed")),
        sa.CheckConstraint("reserved_micros > 0", name=op.f("ck_attempts_reserved")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_attempts_run_id_runs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
        sa.UniqueConstraint("workspace", "live_key", name=op.f("uq_attempts_workspace_live_key")),
    )
    op.create_index("ix_attempts_day", "attempts", ["workspace", "day"], unique=False)
    op.create_index("ix_attempts_item", "attempts", ["workspace", "item_key", "state"], unique=False)
    op.create_index(
        "ix_attempts_moving",
        "attempts",
        ["run_id"],
        unique=False,
        sqlite_where=sa.text("state IN ('reserved', 'sent')"),
        postgresql_where=sa.text("state IN ('reserved', 'sent')"),
    )
    op.create_index("ix_attempts_place", "attempts", ["workspace", "recipe", "source_path"], unique=False)
    op.create_index("ix_attempts_price", "attempts", ["workspace", "model", "state", "id"], unique=False)
    op.create_index("ix_attempts_run", "attempts", ["run_id", "state"], unique=False)
    op.create_table(
        "attempt_windows",
        sa.Column("attempt_id", WHOLE, nullable=False),
        sa.Column("window_id", WHOLE, nullable=False),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempts.id"], name=op.f("fk_attempt_windows_attempt_id_attempts")),
        sa.ForeignKeyConstraint(
            ["window_id"], ["budget_windows.id"], name=op.f("fk_attempt_windows_window_id_budget_windows")
        ),
        sa.PrimaryKeyConstraint("attempt_id", "window_id", name=op.f("pk_attempt_windows")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_attempt_windows_window", "attempt_windows", ["window_id", "attempt_id"], unique=False)
    op.create_table(
        "entries",
        sa.Column("id", WHOLE, nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("attempt_id", WHOLE, nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("open_micros", WHOLE, nullable=False),
        sa.Column("settled_micros", WHOLE, nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempts.id"], name=op.f("fk_entries_attempt_id_attempts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_entries")),
    )
    op.create_index("ix_entries_attempt", "entries", ["attempt_id"], unique=False)
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER entries_no_{verb.lower()} BEFORE {verb} ON entries "
            "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: add a correction instead'); END"
        )
