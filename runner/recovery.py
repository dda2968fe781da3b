"""After a death: finish what a process that is gone has left. Ends attempts as a living one would."""

import shutil
from contextlib import suppress
from typing import Any

from runner import images
from runner.booking import Done, Means, book, drop
from runner.errors import FrozenError, OmixaError
from runner.ledger import owners, usage
from runner.ledger.balance_check import check_balances
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
    _keep_left_behind(means)
    return found


def check(means: Means, *, who: str) -> None:
    """See that every balance is the sum of its entries. If not, the ledger is frozen. Raises FrozenError."""
    database = means.ledger.database
    _, frozen = usage.doubts(database)
    wrong = [] if frozen is not None else check_balances(database)
    if wrong:
        frozen = wrong[0] if len(wrong) == 1 else f"{wrong[0]}; and {len(wrong) - 1} more"
        means.ledger.freeze(frozen, who=who, at=means.now())
    if frozen is not None:
        raise FrozenError(
            f"the ledger is frozen, nothing is reserved: {frozen}",
            "`omixa audit verify` names the first bad row; then restore a backup, or `omixa audit repair --note …`",
        )


def _keep_left_behind(means: Means) -> None:
    """Keep as results the pictures whose disk was full when they came. What cannot be kept stays where it is."""
    for picture in means.spool.glob("*.answer.picture"):
        spool = picture.with_suffix("")
        number = spool.stem.rpartition("-")[2]
        if number.isdigit() and usage.result_digest(means.ledger.database, int(number), spool.stem) is not None:
            with suppress(OmixaError, OSError):
                means.results.keep(picture)
                drop(spool)


def _sweep(run_id: int, uid: str, means: Means) -> None:
    """Remove what the dead process had half written: nothing of it was booked as delivered."""
    shutil.rmtree(means.work / uid, ignore_errors=True)
    folders = {(means.root / path).parent for path in usage.output_paths(means.ledger.database, run_id)}
    for folder in [*folders, *means.results.folder.glob("*")]:
        images.sweep(folder)


def _recover_attempt(row: Any, means: Means) -> Done:
    run = usage.run_facts(means.ledger.database, row.run_id)
    item = Item(_draft_of(row, means), "buy", "recovered")
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


def _draft_of(row: Any, means: Means) -> Draft:
    """What an attempt was for, as far as booking it needs."""
    return Draft(
        source=means.root / row.source_path,
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
    )
