"""The tables of the ledger. A landed migration is never edited; a test proves that they all lead here.

Money is INTEGER micro-units. Moments are TEXT, UTC, fixed width (`2026-11-22T16:47:00.123456Z`), so that they sort
and an auditor can read them. JSON is TEXT with sorted keys.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

# Partial indexes say only `sqlite_where`: naming PostgreSQL here too would import its drivers at each start (40 ms).
# The migrations name both.

# SQLite has one integer type; elsewhere money and row numbers need 64 bits.
WHOLE = BigInteger().with_variant(Integer, "sqlite")

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

STATES = ("reserved", "sent", "unknown", "settled", "released")
LIVE_STATES = ("reserved", "sent", "unknown")

# How a slot stands. Waiting and running are of a living process; every other state is final, save that a slot which
# nobody has begun may be taken over.
SLOT_STATES = ("waiting", "running", "ran", "skipped", "refused", "failed", "missed", "overlapped")
OPEN_SLOT_STATES = ("waiting", "running")

# The chain of what concerns no single workspace.
EVERYWHERE = "*"

WORKSPACES = Table(
    "workspaces",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("currency", Text, nullable=False),  # fixed at the first run: amounts of two currencies never add up
)

LEDGER_STATE = Table(
    "ledger_state",
    METADATA,
    # One row: what is true of the ledger as a whole.
    Column("id", WHOLE, primary_key=True),
    Column("uid", Text, nullable=False),  # which ledger this is, also in a copy of it
    # Prompts stand in the chain as digests under this key, so that nobody can guess one from its digest.
    Column("digest_key", Text, nullable=False, server_default=""),
    # A reading of the machine's own clock, which nobody can set, beside the calendar's. None: not taken yet.
    Column("boot", Text),
    Column("boot_ns", WHOLE),
    Column("boot_at", Text),
    Column("clock_doubt", Text),  # None: the clock is believed
    Column("frozen_reason", Text),  # None: balances equal their entries, as far as anybody has looked
    CheckConstraint("id = 1", name="one"),
)

LEVERS = Table(
    "levers",
    METADATA,
    # What an operator, or a breach, has set beside the declared caps. Never deleted; `ended_at` says it is over.
    Column("id", WHOLE, primary_key=True),
    Column("kind", Text, nullable=False),  # stop | breach | grant
    Column("workspace", Text),  # None: everywhere
    Column("period", Text),  # of a grant: which of the workspace's windows
    Column("label", Text),
    Column("amount_micros", WHOLE),
    Column("until", Text),  # None: until somebody ends it
    Column("reason", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("at", Text, nullable=False),
    Column("ended_at", Text),
    Column("ended_by", Text),
    Column("ended_note", Text),
    CheckConstraint("kind IN ('stop', 'breach', 'grant')", name="kind"),
    CheckConstraint("(kind = 'grant') = (amount_micros IS NOT NULL)", name="grant_has_an_amount"),
    CheckConstraint("amount_micros IS NULL OR amount_micros > 0", name="amount"),
    Index(
        "ix_levers_active",
        "workspace",
        sqlite_where=text("ended_at IS NULL"),
    ),
)

RUNS = Table(
    "runs",
    METADATA,
    Column("id", WHOLE, primary_key=True),
    Column("uid", Text, nullable=False, unique=True),  # also the name of the owner's lock
    Column("workspace", Text, ForeignKey("workspaces.name"), nullable=False),
    Column("recipe", Text, nullable=False),
    Column("recipe_path", Text, nullable=False),
    Column("recipe_digest", Text, nullable=False),
    Column("git_commit", Text),  # None: not in a git repository
    Column("git_dirty", Integer),  # 1: the recipe or omixa.toml differed from that commit
    Column("slot", Text),  # None: started by hand
    Column("cost_centre", Text),
    Column("labels", Text, nullable=False),  # JSON object
    Column("who", Text, nullable=False),
    Column("program", Text, nullable=False),
    Column("started_at", Text, nullable=False),
    Column("ended_at", Text),
    Column("outcome", Text),  # None while it runs
    Column("author", Text),  # who wrote the recipe, as its commit says; None: not known, or it was changed since
    Column("approver", Text),  # who approved its plan, by their names in omixa.toml; None: nobody was asked
    Column("approval", Text),  # of which plan (approvals.plan)
    Index("ix_runs_open", "ended_at", sqlite_where=text("ended_at IS NULL")),
    Index(
        "ix_runs_approval",
        "approval",
        sqlite_where=text("approval IS NOT NULL"),
    ),
)

TEXTS = Table(
    "texts",
    METADATA,
    # Prompts stand apart from the attempts, so that they can be purged without touching the record of the money.
    Column("digest", Text, primary_key=True),
    Column("text", Text, nullable=False),
)

ATTEMPTS = Table(
    "attempts",
    METADATA,
    Column("id", WHOLE, primary_key=True),
    Column("run_id", WHOLE, ForeignKey("runs.id"), nullable=False),
    Column("workspace", Text, nullable=False),
    Column("recipe", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("item_key", Text, nullable=False),
    Column("live_key", Text),  # the item key while money is open on it: stands in for an idempotency key
    Column("source_path", Text, nullable=False),
    Column("source_digest", Text, nullable=False),
    Column("source_bytes", WHOLE, nullable=False),
    Column("prompt_name", Text, nullable=False),
    Column("prompt_digest", Text, nullable=False),
    Column("negative_digest", Text),
    Column("preset_name", Text, nullable=False),
    Column("options", Text, nullable=False),  # JSON object of what was sent, without prompts
    Column("output_path", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reserved_micros", WHOLE, nullable=False),
    Column("billed_micros", WHOLE),
    Column("billed_text", Text),  # as received
    Column("breach", Integer, nullable=False),  # 1: billed above the reservation
    Column("code", Text),  # stable word for what came back
    Column("message", Text),
    Column("status", Integer),
    Column("request_id", Text),
    Column("headers", Text),  # JSON object, allow-list
    Column("body_head", Text),
    Column("result_digest", Text),  # None: no usable picture
    Column("result_bytes", WHOLE),
    Column("result_width", Integer),
    Column("result_height", Integer),
    Column("remark", Text),  # what looked odd about the picture, or why it could not be written
    Column("day", Text, nullable=False),  # local day of the workspace, fixed at reservation
    Column("reserved_at", Text, nullable=False),
    Column("sent_at", Text),
    Column("ended_at", Text),
    CheckConstraint(f"state IN {STATES}", name="state"),
    CheckConstraint("reserved_micros > 0", name="reserved"),
    CheckConstraint("billed_micros IS NULL OR billed_micros >= 0", name="billed"),
    CheckConstraint("(state = 'settled') = (billed_micros IS NOT NULL)", name="settled_is_billed"),
    CheckConstraint(f"(state IN {LIVE_STATES}) = (live_key IS NOT NULL)", name="live_has_key"),
    UniqueConstraint("workspace", "live_key"),
    Index("ix_attempts_item", "workspace", "item_key", "state"),
    Index("ix_attempts_place", "workspace", "recipe", "source_path"),
    Index("ix_attempts_price", "workspace", "model", "state", "id"),
    Index("ix_attempts_day", "workspace", "day"),
    Index("ix_attempts_run", "run_id", "state"),
    Index(
        "ix_attempts_moving",
        "run_id",
        sqlite_where=text("state IN ('reserved', 'sent')"),
    ),
)

BUDGET_WINDOWS = Table(
    "budget_windows",
    METADATA,
    Column("id", WHOLE, primary_key=True),
    Column("scope", Text, nullable=False),  # workspace | recipe | run
    Column("workspace", Text, nullable=False),
    Column("name", Text, nullable=False),  # "" for the workspace, else the recipe's name or the run's uid
    Column("period", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("zone", Text, nullable=False),  # whose calendar it was when the row was made
    Column("ends_at", Text),  # None: never
    Column("cap_micros", WHOLE, nullable=False),  # as last declared; each reservation brings its own
    Column("entry_id", WHOLE, nullable=False, server_default="0"),  # which entry says so
    Column("open_micros", WHOLE, nullable=False),
    Column("settled_micros", WHOLE, nullable=False),
    CheckConstraint("scope IN ('workspace', 'recipe', 'run')", name="scope"),
    CheckConstraint("open_micros >= 0", name="open"),
    CheckConstraint("settled_micros >= 0", name="settled"),
    UniqueConstraint("workspace", "scope", "name", "period", "label"),
)

ATTEMPT_WINDOWS = Table(
    "attempt_windows",
    METADATA,
    Column("attempt_id", WHOLE, ForeignKey("attempts.id"), primary_key=True),
    Column("window_id", WHOLE, ForeignKey("budget_windows.id"), primary_key=True),
    Index("ix_attempt_windows_window", "window_id", "attempt_id"),
    sqlite_with_rowid=False,
)

ENTRIES = Table(
    "entries",
    METADATA,
    # Append-only: triggers (made by the first migration) refuse UPDATE and DELETE. A correction is a new entry.
    Column("id", WHOLE, primary_key=True),
    Column("at", Text, nullable=False),
    Column("workspace", Text, nullable=False),  # EVERYWHERE: about no single workspace
    Column("attempt_id", WHOLE, ForeignKey("attempts.id")),  # None: about the workspace
    Column("kind", Text, nullable=False),  # docs/audit-trail.md lists them
    Column("open_micros", WHOLE, nullable=False),  # change of what is open
    Column("settled_micros", WHOLE, nullable=False),  # change of what is settled
    Column("who", Text, nullable=False),
    Column("note", Text),
    Column("seq", WHOLE, nullable=False),  # from 0 in each chain; the chain is the workspace's
    Column("payload", LargeBinary, nullable=False),  # the bytes as hashed: all of the above and the facts
    Column("hash", LargeBinary, nullable=False),
    UniqueConstraint("workspace", "seq"),
    Index("ix_entries_attempt", "attempt_id"),
)

CHAINS = Table(
    "chains",
    METADATA,
    # The end of each chain, and the right edge of the tree over its entries.
    Column("workspace", Text, primary_key=True),
    Column("head", LargeBinary, nullable=False),
    Column("frontier", LargeBinary, nullable=False),
)

PRICES = Table(
    "prices",
    METADATA,
    Column("workspace", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("settled_count", WHOLE, nullable=False),
    Column("highest_micros", WHOLE, nullable=False),  # the ceiling that the ledger has seen
)

DELIVERIES = Table(
    "deliveries",
    METADATA,
    # Which result was last written to an output path, so that a file that somebody retouched is left alone.
    Column("output_path", Text, primary_key=True),
    Column("item_key", Text, nullable=False),
    Column("result_digest", Text, nullable=False),
    Column("at", Text, nullable=False),
    Column("entry_id", WHOLE, nullable=False, server_default="0"),  # which entry says so
)

# What is summed of usage, in the order of the columns of `totals`: the meaning of each is told in reports/report.py.
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
TOTALS = Table(
    "totals",
    METADATA,
    # Usage by day. Triggers (made by a migration) keep it equal to the attempts, whoever changes them; the view
    # `counted` says what one attempt adds.
    Column("day", Text, primary_key=True),
    Column("workspace", Text, primary_key=True),
    Column("recipe", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("preset_name", Text, primary_key=True),
    Column("prompt_name", Text, primary_key=True),
    Column("run_facts", Text, primary_key=True),  # JSON array, as totals.py reads it
    *(Column(name, WHOLE, nullable=False) for name in SUMS),
    sqlite_with_rowid=False,
)

# ---- records: rows that change only together with an entry that holds the whole row (records.py)

SCHEDULES = Table(
    "schedules",
    METADATA,
    # Since when a recipe's slots are watched over, by which timing, and whether an operator has paused it.
    Column("recipe", Text, primary_key=True),
    Column("workspace", Text, nullable=False),
    Column("timing", Text),  # as slots.Timing spells it; None: it has no schedule any more
    Column("zone", Text, nullable=False),
    Column("since", Text, nullable=False),  # slots up to this moment are accounted for, whatever the timing was
    Column("paused_at", Text),  # None: not paused
    Column("paused_by", Text),
    Column("paused_reason", Text),
    Column("entry_id", WHOLE, nullable=False),
)

SLOTS = Table(
    "slots",
    METADATA,
    # One row a due moment, whoever sees it first: the unique pair is what makes a second scheduler harmless.
    Column("id", WHOLE, primary_key=True),
    Column("recipe", Text, nullable=False),
    Column("due_at", Text, nullable=False),
    Column("workspace", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),  # in words; None: there is nothing to say
    Column("run_uid", Text),  # None: no run was begun
    Column("owner", Text),  # the lock of the process that looks after it
    Column("who", Text, nullable=False),
    Column("claimed_at", Text, nullable=False),
    Column("begun_at", Text),
    Column("ended_at", Text),  # None while it waits or runs
    Column("expected_micros", WHOLE),  # what the plan expected; None: there was no plan
    Column("billed_micros", WHOLE),
    Column("bought", Integer),
    Column("entry_id", WHOLE, nullable=False),
    CheckConstraint(f"state IN {SLOT_STATES}", name="state"),
    CheckConstraint(f"(state IN {OPEN_SLOT_STATES}) = (ended_at IS NULL)", name="open_has_no_end"),
    UniqueConstraint("recipe", "due_at"),
    Index(
        "ix_slots_open",
        "recipe",
        sqlite_where=text(f"state IN {OPEN_SLOT_STATES}"),
    ),
    Index("ix_slots_due", "due_at"),
)

ALERTS = Table(
    "alerts",
    METADATA,
    # One row an occasion: its key names what it is about, the threshold and the window, so it fires once.
    Column("key", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("workspace", Text),  # None: about no single workspace
    Column("message", Text, nullable=False),
    Column("hint", Text),
    Column("at", Text, nullable=False),
    Column("entry_id", WHOLE, nullable=False),
)

ALERT_SENDINGS = Table(
    "alert_sendings",
    METADATA,
    # How far each alert has come on each channel.
    Column("alert", Text, primary_key=True),
    Column("channel", Text, primary_key=True),
    Column("state", Text, nullable=False),  # waiting | sent | given-up
    Column("tries", Integer, nullable=False),
    Column("next_at", Text),  # when it is tried (again); None: not any more
    Column("error", Text),
    Column("at", Text, nullable=False),
    Column("entry_id", WHOLE, nullable=False),
    CheckConstraint("state IN ('waiting', 'sent', 'given-up')", name="state"),
    CheckConstraint("(state = 'waiting') = (next_at IS NOT NULL)", name="waiting_has_a_moment"),
    Index(
        "ix_alert_sendings_waiting",
        "next_at",
        sqlite_where=text("state = 'waiting'"),
    ),
)

CLOSINGS = Table(
    "closings",
    METADATA,
    # Windows whose reports do not change any more. Triggers (migration 0007) refuse every change of what is closed.
    Column("workspace", Text, primary_key=True),
    Column("last_day", Text, primary_key=True),  # the newest is how far a workspace is closed: windows close in order
    Column("first_day", Text, nullable=False),
    Column("period", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("zone", Text, nullable=False),  # whose calendar it was
    Column("at", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("program", Text, nullable=False),
    Column("totals", Text, nullable=False),  # JSON object: counts and micro-units
    Column("budgets", Text, nullable=False),  # JSON array: the budget windows that ended in it, as they stood
    Column("digest", Text, nullable=False),  # SHA-256 of the snapshot, in hex
    Column("note", Text, nullable=False),  # the digest as a signed note
    Column("entry_id", WHOLE, nullable=False),
    CheckConstraint("first_day <= last_day", name="days"),
)

CORRECTIONS = Table(
    "corrections",
    METADATA,
    # How an attempt of a closed window went on: what it was, what it became, and in which open window that is told.
    Column("attempt_id", WHOLE, ForeignKey("attempts.id"), primary_key=True),
    Column("number", Integer, primary_key=True),  # from 1 for each attempt
    Column("workspace", Text, nullable=False),
    Column("day", Text, nullable=False),  # local day of the workspace, in a window that was open
    Column("at", Text, nullable=False),
    Column("before_state", Text, nullable=False),
    Column("before_code", Text),
    Column("before_picture", Integer, nullable=False),  # 1: a picture had come that can be used
    Column("state", Text, nullable=False),
    Column("billed_micros", WHOLE),
    Column("code", Text),
    Column("who", Text, nullable=False),
    Column("reason", Text),  # as the person said it; None: nobody was asked
    Column("entry_id", WHOLE, nullable=False),
    CheckConstraint(f"before_state IN {LIVE_STATES}", name="before"),
    CheckConstraint("state IN ('unknown', 'settled', 'released') AND state <> before_state", name="state"),
    CheckConstraint("(state = 'settled') = (billed_micros IS NOT NULL)", name="settled_is_billed"),
    Index("ix_corrections_day", "workspace", "day"),
)

# What a provider's file said of an attempt or of one of its own lines (docs/reconcile.md). The first three agree.
AGREED_VERDICTS = ("matched", "billed", "not-billed")
VERDICTS = (
    *AGREED_VERDICTS,
    *("differs", "only-ours", "only-theirs", "duplicate", "credit", "billed-released", "explained"),
)

RECONCILED = Table(
    "reconciled",
    METADATA,
    Column("key", Text, primary_key=True),  # `attempt 12`, or `line …` for a line of no attempt
    Column("workspace", Text, nullable=False),
    Column("attempt_id", WHOLE),  # None: a line that belongs to none
    Column("verdict", Text, nullable=False),
    Column("evidence", Text),  # id | time; None: there is no line
    Column("ours_micros", WHOLE),  # None: nothing was settled
    Column("theirs_micros", WHOLE),  # None: there is no line
    Column("line_key", Text),  # a digest of what the line says, the same in every file that has it
    Column("billed_at", Text),  # the moment that the line says
    Column("invoice", Text, nullable=False),  # which `[invoices.NAME]`
    Column("file_name", Text, nullable=False),
    Column("file_digest", Text, nullable=False),  # SHA-256
    Column("line", WHOLE),
    Column("who", Text, nullable=False),
    Column("at", Text, nullable=False),
    Column("entry_id", WHOLE, nullable=False),
    CheckConstraint(f"verdict IN {VERDICTS}", name="verdict"),
    Index("ix_reconciled_attempt", "attempt_id", "verdict"),
)

APPROVALS = Table(
    "approvals",
    METADATA,
    # Which plans were approved and begun. The plan itself is a file; its runs name it.
    Column("plan", Text, primary_key=True),  # its digest
    Column("workspace", Text, nullable=False),
    Column("amount_micros", WHOLE, nullable=False),  # the most that all its runs together may spend
    Column("expires_at", Text, nullable=False),
    Column("approver", Text, nullable=False),  # names, as in omixa.toml then
    Column("signatures", Text, nullable=False),  # JSON array of the approvals as they were signed
    Column("made_by", Text, nullable=False),
    Column("made_at", Text, nullable=False),
    Column("entry_id", WHOLE, nullable=False),
    CheckConstraint("amount_micros > 0", name="amount"),
)

RECORDS = (SCHEDULES, SLOTS, ALERTS, ALERT_SENDINGS, RECONCILED, APPROVALS, CLOSINGS, CORRECTIONS)
