"""Entries become a chain of hashes, one a workspace; everything the older ledger says is taken into it as it stands.

Older entries keep their place. After them each chain has one entry for every row that a later entry would speak of
(`adopt` for attempts), so that whoever changes one of those rows from now on is found out.
"""

import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from hmac import new as hmac
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UNDER_KEY = ("item_key", "live_key", "prompt_digest", "negative_digest", "message", "headers", "body_head")


def upgrade() -> None:
    op.add_column("ledger_state", sa.Column("digest_key", sa.Text(), nullable=False, server_default=""))
    key = secrets.token_bytes(32)
    op.execute(sa.text("UPDATE ledger_state SET digest_key = :key").bindparams(key=key.hex()))
    op.create_table(
        "chains",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("head", sa.LargeBinary(), nullable=False),
        sa.Column("frontier", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("workspace", name=op.f("pk_chains")),
    )
    for table in ("budget_windows", "deliveries"):
        op.add_column(table, sa.Column("entry_id", WHOLE, nullable=False, server_default="0"))
    # The triggers go with the old table, and come back with the new one.
    op.drop_index("ix_entries_attempt", "entries")
    op.rename_table("entries", "entries_before_0003")
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
        sa.Column("seq", WHOLE, nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempts.id"], name=op.f("fk_entries_attempt_id_attempts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_entries")),
        sa.UniqueConstraint("workspace", "seq", name=op.f("uq_entries_workspace_seq")),
    )
    op.create_index("ix_entries_attempt", "entries", ["attempt_id"], unique=False)
    Adoption(op.get_bind(), key).run()
    op.drop_table("entries_before_0003")
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER entries_no_{verb.lower()} BEFORE {verb} ON entries "
            "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: add a correction instead'); END"
        )


class Adoption:
    """Takes an older ledger into chains. The format of payload and tree is frozen here as version 1."""

    def __init__(self, connection: sa.Connection, key: bytes) -> None:
        self.connection = connection
        self.key = key
        self.uid = connection.execute(sa.text("SELECT uid FROM ledger_state")).scalar_one()
        latest = connection.execute(sa.text("SELECT max(at) FROM entries_before_0003")).scalar_one()
        self.at = latest or datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        self.id = 0
        self.chains: dict[str, tuple[int, bytes, list[bytes]]] = {}

    def run(self) -> None:
        """Every older entry in its order, then what the other tables say."""
        for row in self.rows("SELECT * FROM entries_before_0003 ORDER BY id"):
            self.id = row["id"] - 1
            self.add(row["workspace"], row["kind"], {}, row)
        for row in self.rows("SELECT * FROM workspaces ORDER BY name"):
            self.add(row["name"], "workspace", {"currency": row["currency"]})
        for row in self.rows("SELECT * FROM runs ORDER BY id"):
            ended = {name: row.pop(name) for name in ("ended_at", "outcome")}
            self.add(row["workspace"], "run", row)
            if ended["ended_at"] is not None:
                self.add(row["workspace"], "run-ended", {"id": row["id"], **ended})
        for row in self.rows("SELECT * FROM attempts ORDER BY id"):
            facts = {name: self.digest(value) if name in UNDER_KEY else value for name, value in row.items()}
            self.add(row["workspace"], "adopt", facts, {"attempt_id": row["id"]})
        for row in self.rows("SELECT * FROM levers ORDER BY id"):
            chain = row["workspace"] or "*"
            self.add(chain, row["kind"], {"lever": row}, {"note": row["reason"], "who": row["who"]})
        for row in self.rows("SELECT * FROM budget_windows ORDER BY id"):
            for name in ("open_micros", "settled_micros", "entry_id"):
                del row[name]
            facts = row | self.joined(row["id"])
            number = self.add(row["workspace"], "window", facts)
            self.execute("UPDATE budget_windows SET entry_id = :entry WHERE id = :id", entry=number, id=row["id"])
        for row in self.rows(
            "SELECT d.*, (SELECT workspace FROM attempts a WHERE a.output_path = d.output_path "
            "ORDER BY a.id DESC LIMIT 1) AS workspace FROM deliveries d ORDER BY output_path"
        ):
            facts = {
                "output_path": row["output_path"],
                "item_key": self.digest(row["item_key"]),
                "result_digest": row["result_digest"],
                "replaces": 0,
            }
            number = self.add(row["workspace"] or "*", "deliver", {"delivery": facts})
            self.execute(
                "UPDATE deliveries SET entry_id = :entry, at = :at WHERE output_path = :path",
                entry=number,
                at=self.at,
                path=row["output_path"],
            )
        for chain, (size, head, nodes) in self.chains.items():
            self.execute(
                "INSERT INTO chains VALUES (:chain, :head, :frontier)",
                chain=chain,
                head=head,
                frontier=size.to_bytes(8, "big") + b"".join(nodes),
            )

    def rows(self, query: str) -> list[dict[str, Any]]:
        return [dict(row) for row in self.connection.execute(sa.text(query)).mappings()]

    def execute(self, statement: str, **values: Any) -> None:
        self.connection.execute(sa.text(statement), values)

    def joined(self, window: int) -> dict[str, Any]:
        last = self.rows("SELECT coalesce(max(id), 0) AS id FROM attempts")[0]["id"]
        found = sha256()
        query = f"SELECT attempt_id FROM attempt_windows WHERE window_id = {window:d} ORDER BY attempt_id"  # noqa: S608
        for row in self.rows(query):
            found.update(b"%d," % row["attempt_id"])
        return {"joined_to": last, "joined": found.hexdigest()}

    def digest(self, value: str | None) -> str | None:
        return None if value is None else hmac(self.key, value.encode("utf-8", "surrogatepass"), sha256).hexdigest()

    def add(self, chain: str, kind: str, facts: Mapping[str, Any], row: Mapping[str, Any] | None = None) -> int:
        plain = {"at": self.at, "attempt_id": None, "open_micros": 0, "settled_micros": 0, "who": "omixa", "note": None}
        values = plain | {name: value for name, value in (row or {}).items() if name in plain}
        size, head, nodes = self.chains.get(chain, (0, bytes(32), []))
        fields: list[Any] = ["omixa-entry/1", self.uid, chain, size, head, values["at"], kind, values["attempt_id"]]
        fields += [values["open_micros"], values["settled_micros"], values["who"], values["note"]]
        fields.append(json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False))
        payload = b"".join(map(_field, fields))
        leaf = sha256(b"\0" + payload).digest()
        node, nodes, full = leaf, list(nodes), size
        while full & 1:
            node = sha256(b"\1" + nodes.pop() + node).digest()
            full >>= 1
        nodes.append(node)
        self.chains[chain] = (size + 1, leaf, nodes)
        self.id += 1
        self.execute(
            "INSERT INTO entries (id, at, workspace, attempt_id, kind, open_micros, settled_micros, who, note, "
            "seq, payload, hash) VALUES (:id, :at, :workspace, :attempt_id, :kind, :open_micros, :settled_micros, "
            ":who, :note, :seq, :payload, :hash)",
            **values,
            id=self.id,
            workspace=chain,
            kind=kind,
            seq=size,
            payload=payload,
            hash=leaf,
        )
        return self.id


def _field(value: str | int | bytes | None) -> bytes:
    if value is None:
        return b"\xff\xff\xff\xff"
    data = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
    return len(data).to_bytes(4, "big") + data
