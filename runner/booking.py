"""How an attempt ends: the picture is kept and written out, then the money is booked, and nothing else ends one."""

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from runner import images
from runner.baton import heavy
from runner.errors import DiskError
from runner.ledger import known, usage
from runner.ledger.ledger import Ledger
from runner.ledger.values import (
    Reserved,
    Result,
    RunFacts,
)
from runner.money import show
from runner.plan import Draft, Item
from runner.providers.provider import Billed, Declined, Outcome, Provider, Unknown
from runner.providers.spool import is_cut, parts, picture_path
from runner.spares import Spares


@dataclass(frozen=True, slots=True)
class Means:
    """What a run works with. `root`: the project's folder; `home`: beside the ledger, holds spool, results, owners.

    `checkpoint` writes down, at a second place, how far the ledger has come; it raises DiskError, LedgerError.
    """

    ledger: Ledger
    provider: Provider
    results: images.Results
    root: Path
    home: Path
    now: Callable[[], datetime]
    checkpoint: Callable[[], None] = lambda: None

    @property
    def spool(self) -> Path:
        """Where raw answers wait until they are booked."""
        return self.home / "spool"

    @property
    def work(self) -> Path:
        """Where each run keeps what it is about to send, in a folder of its uid."""
        return self.home / "work"

    def stamps(self, run_uid: str) -> Path:
        """A file that is there when the pictures of a run are to say where they are from, also for who recovers it."""
        return self.work / run_uid / "provenance"

    def spool_of(self, run_uid: str, attempt_id: int) -> Path:
        """Where the raw answer of an attempt waits. With the run's uid, because numbers repeat in a restored ledger."""
        return self.spool / f"{run_uid}-{attempt_id}.answer"

    @property
    def raw(self) -> Path:
        """Where raw answers stay that a person may have to look at."""
        return self.home / "raw"


Kind = Literal["bought", "restored", "unusable", "declined", "unsent", "unknown", "refused", "unsuitable", "unfinished"]


@dataclass(frozen=True, slots=True)
class Done:
    """How one item ended. `stop` is why no further item can be bought, None when the run goes on.

    `held_micros`: set aside and not resolved. `attempt_id` is None when nothing was reserved. `result_digest`: of the
    picture that came, or came back; None: no usable one.
    """

    item: Item
    kind: Literal[
        "bought", "restored", "unusable", "declined", "unsent", "unknown", "refused", "unsuitable", "unfinished"
    ]
    message: str | None = None
    attempt_id: int | None = None
    billed_micros: int = 0
    held_micros: int = 0
    remark: str | None = None
    unwritten: bool = False
    stop: "Stop | None" = None
    result_digest: str | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a run cannot go on: which kind of trouble, and in words."""

    kind: Literal["budget", "provider", "disk", "breach", "stop", "clock", "frozen", "canary"]
    message: str
    hint: str | None = None


# Codes of attempts of which no byte of the body left.
NOTHING_SENT = ("not-sent", "never-sent", "spool-unwritable", "picture-unreadable", "not-in-contract")

_PROVIDER_HINTS = {
    "key-refused": "check the workspace's `api_key` in omixa.toml, and that the key is still valid, then run again",
    "account-empty": "top up the account at the provider, then run again",
    "spool-unwritable": "make the ledger's folder writable, then run again",
}


def book(
    item: Item,
    held: Reserved,
    outcome: Outcome,
    spool: Path,
    run: RunFacts,
    means: Means,
    spares: Spares | None = None,
) -> Done:
    """End an attempt in the ledger by what came back. The picture is on disk before the booking.

    `spares`: where an answer goes that is booked and of no more use.
    """
    ledger, attempt_id = means.ledger, held.attempt_id
    match outcome:
        case Declined(evidence, code, message, _, stops_run):
            ledger.release(attempt_id, code=code, message=message, evidence=evidence, who=run.who, at=means.now())
            drop(spool)
            stop = _provider_stop(stops_run, code, message)
            kind: Kind = "unsent" if code in NOTHING_SENT else "declined"
            return Done(item, kind, message, attempt_id, stop=stop)
        case Unknown(evidence, code, message):
            ledger.unknown(
                attempt_id,
                code=code,
                message=message,
                evidence=evidence,
                result=None,
                who=run.who,
                at=means.now(),
            )
            keep_raw(spool, means)
            told = f"{message}; it may have been billed and is not sent again: omixa resolve {attempt_id}"
            stop = _provider_stop(outcome.stops_run, code, message)
            return Done(item, "unknown", told, attempt_id, held_micros=held.amount_micros, stop=stop)
        case Billed():
            return _book_billed(item, held, outcome, spool, run, means, spares)


def _provider_stop(stops_run: bool, code: str, message: str) -> Stop | None:
    """Why no further request of the run can succeed, or None."""
    return Stop("provider", message, _PROVIDER_HINTS.get(code)) if stops_run else None


def _book_billed(
    item: Item,
    held: Reserved,
    billed: Billed,
    spool: Path,
    run: RunFacts,
    means: Means,
    spares: Spares | None,
) -> Done:
    written = _write(item.draft, billed, held.attempt_id, means)
    result, trouble = written.result, written.trouble
    attempt_id, unwritten = held.attempt_id, result is not None and not result.delivered
    if billed.amount_micros is None:
        message = "it was bought, but the answer does not say for how much; the whole reservation stays held"
        means.ledger.unknown(
            attempt_id,
            code="amount-unreadable",
            message=message,
            evidence=billed.evidence,
            result=result,
            who=run.who,
            at=means.now(),
        )
        if result is None or written.kept:
            keep_raw(spool, means)
        # Otherwise the spool has the only copy of the picture: the next run keeps it first (`_clear_spool`).
        told = f"{message}: omixa resolve {attempt_id}"
        stop = _provider_stop(billed.stops_run, billed.code, billed.message)
        return Done(item, "unknown", told, attempt_id, held_micros=held.amount_micros, unwritten=unwritten, stop=stop)
    if result is None:
        trouble = f"billed, but no usable picture came: {trouble}"
    breach = means.ledger.settle(
        attempt_id,
        billed_micros=billed.amount_micros,
        billed_text=billed.amount_text,
        code="billed" if result else "billed-unusable",
        message=trouble,
        evidence=billed.evidence,
        result=result,
        who=run.who,
        at=means.now(),
    )
    stop = _provider_stop(billed.stops_run, billed.code, billed.message)
    if breach:
        stop = Stop(
            "breach",
            f"attempt {attempt_id} was billed {show(billed.amount_micros, run.currency)}, above its reservation of "
            f"{show(held.amount_micros, run.currency)}; workspace {run.workspace} is stopped",
            f"look at it with `omixa audit show {attempt_id}`, then: omixa resume --workspace {run.workspace} --note …",
        )
    if result is None:
        kept = keep_raw(spool, means)
        trouble = f"{trouble}; the raw answer {f'is kept at `{kept}`' if kept else 'could not be kept'}"
    elif written.kept:
        # Its picture is among the results by now, and what is settled with one is not read from the spool any more.
        if spares is not None:
            spares.keep(spool)
        drop(spool)
    # Otherwise the spool has the only copy: the next run keeps it as a result (`_clear_spool`).
    return Done(
        item,
        "bought" if result else "unusable",
        trouble,
        attempt_id,
        billed_micros=billed.amount_micros,
        remark=result.remark if result else None,
        unwritten=unwritten,
        stop=stop,
        result_digest=result.digest if result else None,
    )


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a picture that came: `kept` among the results; the trouble in words, None when there was none."""

    result: Result | None
    trouble: str | None
    kept: bool = False


def _write(draft: Draft, billed: Billed, attempt_id: int, means: Means) -> Written:
    """Keep the picture and write it out. Never raises: the bill is a fact, whatever happens to the picture."""
    if billed.result is None:
        return Written(None, billed.fault or "no picture came")
    try:
        with heavy(_bytes_of(billed.result)):
            return _written(draft, billed.result, billed.digest, attempt_id, means)
    except Exception as error:  # noqa: BLE001 - a mistake here must not keep the bill from being booked
        return Written(None, f"the picture could not be looked at ({type(error).__name__}: {error})")


def _written(draft: Draft, picture: Path, digest: str | None, attempt_id: int, means: Means) -> Written:
    facts = images.result_facts(picture)
    if isinstance(facts, str):
        return Written(None, facts)
    trouble, kept, file = None, None, picture
    try:
        result_digest = means.results.take(picture, digest)
        kept = means.results.path(result_digest)
        file = kept or picture
    except DiskError as error:
        trouble = f"{error.message}; the paid picture stays in the spool"
        result_digest = digest or _digest_of(picture)
    delivered, plain = False, None
    try:
        plain = _put(file, draft, attempt_id, means)
        delivered = True
    except DiskError as error:
        where = "kept" if kept else "in the spool"
        trouble = f"{error.message}; the paid picture is {where} and comes back with a later run, without paying"
    looks = images.looks_wrong(draft.source, file) if draft.source is not None and draft.resembles else None
    remark = "; ".join(filter(None, (looks, plain))) or None
    result = Result(result_digest, facts.size_bytes, facts.width, facts.height, remark, delivered)
    return Written(result, trouble, kept is not None)


def _put(file: Path, draft: Draft, attempt_id: int | None, means: Means) -> str | None:
    """Write a picture to its output path, over an older delivery of ours that nobody has changed, and nothing else.

    Where the recipe wants it, the file says that `attempt_id` made it. Where that cannot be, returns why.
    Raises DiskError, also when somebody's file stands there: it may have come after the plan was made.
    """
    edits, plain = _stamping(file, draft, attempt_id, means)
    if not os.path.lexists(draft.output):
        try:
            images.write_atomically(file, draft.output, over=False, edits=edits)
        except DiskError:
            # Another process may have brought back the very same meanwhile.
            if not draft.output.is_file() or _digest_of(file) not in images.digests(draft.output):
                raise
        return plain
    found = images.digests(draft.output) if draft.output.is_file() and not draft.output.is_symlink() else []
    ours = known.delivered(means.ledger.database, draft.output_path)
    if ours not in found and _digest_of(file) not in found:
        raise DiskError(f"`{draft.output}` is a file that omixa did not write, or that was changed since")
    images.write_atomically(file, draft.output, edits=edits)
    return plain


def _stamping(
    file: Path, draft: Draft, attempt_id: int | None, means: Means
) -> tuple[Sequence[images.Edit], str | None]:
    """How the picture is made to say which attempt made it; or nothing, and why not. Never raises: it was paid for."""
    if not draft.provenance:
        return (), None
    if attempt_id is None:
        return (), "delivered without provenance: its attempt is not known any more"
    try:
        edits = images.stamped(file, usage.stamp(means.ledger.database, attempt_id))
    except Exception as error:  # noqa: BLE001 - metadata must never cost a picture
        edits = f"{type(error).__name__}: {error}"
    return ((), f"delivered without provenance: {edits}") if isinstance(edits, str) else (edits, None)


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _bytes_of(path: Path) -> int:
    """How large a file is; 0 when that cannot be told, and whoever opens it will say why."""
    with suppress(OSError):
        return path.stat().st_size
    return 0


def restore(item: Item, result_digest: str | None, run: RunFacts, means: Means) -> Done:
    """Bring a paid picture back to its output path, without paying."""
    if result_digest is None:
        return Done(item, "unfinished", "it was paid for, but no usable picture came: --reroll buys it again")
    try:
        kept = means.results.path(result_digest)
        if kept is None:
            return Done(item, "unfinished", "it was paid for, but its kept result is gone: --reroll buys it again")
        with heavy(_bytes_of(kept)):
            if _digest_of(kept) != result_digest:
                return Done(item, "unfinished", f"it was paid for, but its kept result `{kept}` is damaged")
            plain = _put(kept, item.draft, _maker(item.draft, result_digest, run, means), means)
    except (DiskError, OSError) as error:
        message = error.message if isinstance(error, DiskError) else f"`{kept}` cannot be read: {error.strerror}"
        return Done(item, "restored", message, unwritten=True, result_digest=result_digest)
    assert item.draft.key is not None
    means.ledger.deliver(run, item.draft.output_path, item.draft.key, result_digest, at=means.now())
    return Done(item, "restored", remark=plain, result_digest=result_digest)


def _maker(draft: Draft, result_digest: str, run: RunFacts, means: Means) -> int | None:
    """The attempt that brought a paid picture; None when it need not be known, or is not."""
    if not draft.provenance or draft.key is None:
        return None
    paid = known.paid(means.ledger.database, run.workspace, draft.key)
    return None if paid is None or paid.result_digest != result_digest else paid.attempt_id


def drop(spool: Path) -> None:
    """Remove what an attempt left in the spool. Never raises: leftovers cost only space."""
    for file in parts(spool):
        with suppress(OSError):
            file.unlink()


def keep_raw(spool: Path, means: Means) -> Path | None:
    """Move a raw answer to where a person can look at it, its picture beside it when that was cut out; where it is
    then, None when there is none."""
    kept: Path | None = None
    if spool.exists():
        kept = means.raw / spool.name
        try:
            means.raw.mkdir(mode=0o700, exist_ok=True)
            if is_cut(spool):
                with suppress(FileNotFoundError):
                    picture_path(spool).replace(picture_path(kept))
            spool.replace(kept)
        except OSError:
            return spool  # it stays in the spool, which is just as safe
    drop(spool)
    return kept
