"""After a death: finish what a process that is gone has left. Ends attempts as a living one would."""

import shutil
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from runner import images
from runner.booking import Done, Means, book, drop, keep_raw
from runner.contracts import CONTRACTS
from runner.errors import FrozenError, OmixaError
from runner.ledger import checked, owners, usage
from runner.ledger.values import (
    Reserved,
)
from runner.plan import Draft, Item
from runner.providers.provider import Declined, Evidence, Outcome, Unknown


def recover(means: Means) -> list[Done]:
    """Finish the attempts of runs whose process is gone: reserved → released, sent → settled from the spooled answer,
    otherwise unknown. Safe to repeat, and to be killed itself; runs of living processes are not touched.
    """
    found: list[Done] = []
    for run_id, uid in usage.open_runs(means.ledger.database):
        owner = owners.claim(means.home / "owners", uid)
        if owner is None:
            continue
        try:
            # Between the list and the lock its own process may have ended it in good order.
            if any(id_ == run_id for id_, _ in usage.open_runs(means.ledger.database)):
                found += [_recover_attempt(row, means) for row in usage.unfinished(means.ledger.database, run_id)]
                _sweep(run_id, uid, means)
                means.ledger.end_run(run_id, "died", at=means.now())
        except BaseException:
            owner.close()  # the run is still to be recovered: its lock file stays
            raise
        owner.let_go()
    _forget_ended(means)
    _clear_spool(means)
    return found


def check(means: Means, *, who: str) -> None:
    """See that every balance is the sum of its entries. If not, the ledger is frozen. Raises FrozenError."""
    database = means.ledger.database
    _, frozen = usage.doubts(database)
    try:
        found = None if frozen is not None else checked.check(database)
        wrong = [] if found is None else found.wrong
    except (TypeError, ValueError, LookupError) as error:  # somebody put in something that no program writes
        found, wrong = None, [f"its rows cannot be read: {error}"]
    if wrong:
        frozen = wrong[0] if len(wrong) == 1 else f"{wrong[0]}; and {len(wrong) - 1} more"
        means.ledger.freeze(frozen, who=who, at=means.now())
    if frozen is not None:
        raise FrozenError(
            f"the ledger is frozen, nothing is reserved: {frozen}",
            "`omixa audit verify` names the first bad row; then restore a backup, or `omixa audit repair --note …`",
        )
    if found is not None and found.due:
        means.ledger.note_checked(found.seen, who=who, at=means.now())


def _forget_ended(means: Means) -> None:
    """Remove what processes left that died just before their run began or just after it ended: lock, work folder."""
    folder = means.home / "owners"
    for uid in owners.locked(folder):
        owner = owners.claim(folder, uid)
        if owner is None:
            continue
        if any(uid == open_uid for _, open_uid in usage.open_runs(means.ledger.database)):
            owner.close()  # it died meanwhile, and is still to be recovered
            continue
        shutil.rmtree(means.work / uid, ignore_errors=True)
        owner.let_go()


def _clear_spool(means: Means) -> None:
    """Put away the answers of ended runs that are booked: a process died before it could, or its disk was full.

    A picture is kept among the results first. What cannot be kept stays where it is.
    """
    for spool in {path.with_name(path.name.partition(".")[0] + ".answer") for path in means.spool.glob("*.answer*")}:
        number = spool.stem.rpartition("-")[2]
        booked = usage.booked(means.ledger.database, int(number), spool.stem) if number.isdigit() else None
        if booked is None:
            continue
        state, result_digest = booked
        picture = spool.with_name(spool.name + ".picture")
        with suppress(OmixaError, OSError):
            if result_digest is not None and means.results.path(result_digest) is None:
                if not picture.exists():
                    continue
                means.results.keep(picture)
            if state == "unknown" or (state == "settled" and result_digest is None):
                keep_raw(spool, means)
            else:
                drop(spool)


def _sweep(run_id: int, uid: str, means: Means) -> None:
    """Remove what the dead process had half written: nothing of it was booked as delivered."""
    shutil.rmtree(means.work / uid, ignore_errors=True)
    folders = {(means.root / path).parent for path in usage.output_paths(means.ledger.database, run_id)}
    for folder in [*folders, *means.results.folder.glob("*")]:
        images.sweep(folder)


def _recover_attempt(row: Any, means: Means) -> Done:
    run = usage.run_facts(means.ledger.database, row.run_id)
    item = Item(_draft_of(row, run.uid, means), "buy", "recovered")
    held = Reserved(row.id, row.reserved_micros)
    spool = means.spool_of(run.uid, row.id)
    if row.state == "reserved":
        outcome: Outcome = Declined(_NO_EVIDENCE, "never-sent", "its process died before anything was sent")
    elif spool.exists():
        outcome = means.provider.read_spooled(spool)
    else:
        outcome = Unknown(_NO_EVIDENCE, "process-died", "its process died after sending, before the answer was kept")
    return book(item, held, outcome, spool, run, means)


_NO_EVIDENCE = Evidence()


def _is_stamped(output_path: str, stamps: Path) -> bool:
    """Whether a picture of a dead run was to say where it is from: `stamps` names the folders of those that were."""
    try:
        folders = stamps.read_text(encoding="utf-8").split("\n")
    except OSError:
        return False
    return any(PurePosixPath(output_path).is_relative_to(folder) for folder in folders)


def _draft_of(row: Any, run_uid: str, means: Means) -> Draft:
    """What an attempt was for, as far as booking it needs."""
    return Draft(
        source=means.root / row.source_path if row.source_path else None,
        source_path=row.source_path,
        picture=None,
        fault=None,
        prompt_name=row.prompt_name,
        prompt="",
        negative=None,
        preset_name=row.preset_name,
        options={},
        key=row.item_key,
        output=means.root / row.output_path,
        output_path=row.output_path,
        output_size=None,
        provenance=_is_stamped(row.output_path, means.stamps(run_uid)),
        # A contract file may say otherwise by now, or be gone: only what the package knows is compared.
        resembles=row.model in CONTRACTS,
    )
