"""The only importer of Alembic: the migrations in `migrations/`, applied to one open connection."""

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from runner.ledger.fresh import folder


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(folder()).replace("%", "%%"))
    return config


def revisions() -> set[str]:
    """Every revision that this program knows."""
    return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Bring the tables to `revision` in one transaction."""
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
