"""The exception tree and the exit codes: what a user can meet, and what a script can rely on."""

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """What the process says when it ends; documented in docs/exit-codes.md."""

    OK = 0
    FAILED = 1  # at least one picture was declined or could not be used; nothing is unresolved
    INVALID = 2  # wrong arguments, settings or recipes; nothing was sent
    BUDGET = 3  # a budget, a stop, a breach, a canary or a doubted clock refused; what was in flight finished
    PROVIDER = 4  # endpoint down, key refused, account empty; the run stopped
    LEDGER = 5  # the ledger cannot be read or written, is damaged, or is newer than this program
    UNKNOWN = 6  # an answer never came: money is held until someone resolves it
    DISK = 7  # a folder or disk cannot take what must be written
    FROZEN = 8  # the ledger does not add up; nothing is reserved until a person has looked
    APPROVAL = 9  # it must be approved and is not, or what was approved is not what is there; nothing was sent
    CHANGES = 10  # `plan --detailed-exitcode`: something would be bought; `fmt --check`: a file is not laid out
    INTERNAL = 70  # a mistake in omixa itself; the details are in a file that the message names
    INTERRUPTED = 130  # Ctrl-C


class OmixaError(Exception):
    """A failure with a message for the user: what happened, and what to do next.

    `message` says what, where and what was found; `hint` is the next step, or None.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.FAILED

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(OmixaError):
    """The arguments or the state of the project do not allow the command; nothing was sent."""

    exit_code = ExitCode.INVALID


class BudgetRefused(OmixaError):
    """A budget has no room. Raised only where a command as a whole is refused."""

    exit_code = ExitCode.BUDGET


class ProviderStopped(OmixaError):
    """The endpoint cannot be used at all: down, key refused, account empty."""

    exit_code = ExitCode.PROVIDER


class LedgerError(OmixaError):
    """The ledger cannot be read or written, is damaged, or belongs to a newer program."""

    exit_code = ExitCode.LEDGER


class FrozenError(LedgerError):
    """The ledger does not add up, or its chain is broken; nothing is reserved until a person has looked."""

    exit_code = ExitCode.FROZEN


class DiskError(OmixaError):
    """A folder or disk cannot take what must be written."""

    exit_code = ExitCode.DISK
