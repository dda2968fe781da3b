"""Who raises a cap in a change: read from the files as each commit of it has them, and from nothing else.

A cap is raised when it is higher, when it is gone, when a workspace is new or pays elsewhere, and when `[policy]` or
`[approvers]`, which guard what is spent, are others. An author is who git says; who may push under which name is the
host's to say.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner.comparison import Comparison, Violation
from runner.money import billed, short
from runner.recipe import FOLDER
from runner.revisions import Repository
from runner.settings_tables import FILE_NAME
from runner.sides import Side
from runner.tomlfile import BYTES_MAX

_HERE = "what is not committed"


@dataclass(frozen=True, slots=True)
class _Caps:
    """The caps of one file: whose and period → micro-units; who pays where; policy and approvers, as written."""

    caps: Mapping[tuple[str, str], int] = field(default_factory=dict)
    accounts: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    policy: Any = None
    approvers: Any = None


@dataclass(frozen=True, slots=True)
class Range:
    """The commits of a change: those of `head` that `base` does not come from."""

    repository: Repository
    base: str
    head: str


def violations(found: Comparison, before: Side, after: Side, span: Range | None) -> list[Violation]:
    """Every raised cap whose author the policy does not name. `span` None: two folders, which have no authors."""
    allowed = found.policy.cap_raisers
    if allowed is None or before.settings is None:
        return []
    may = {one.casefold() for one in allowed}
    was = {change.name: change.was or change.name for change in found.changes if change.after is not None}
    files = {FILE_NAME: FILE_NAME} | {f"{FOLDER}/{new}.toml": f"{FOLDER}/{old}.toml" for new, old in was.items()}
    said = []
    for path, old in files.items():
        raised = list(_raised(_on_disk(before.root / old), _on_disk(after.root / path)))
        if raised:
            said += [
                Violation("policy-cap-raised", f"{'; '.join(raised)}: {why}")
                for why in _faults(span, after, path, old, may)
            ]
    return said


def _faults(span: Range | None, after: Side, path: str, old: str, may: set[str]) -> list[str]:
    """Who raised the caps of a file and may not; or that nobody knows. Empty: all who did may."""
    if span is None:
        return ["folders do not say who did it, and the policy names who may"]
    commits = span.repository.commits(span.base, span.head)
    asked = {span.head, *(oid for one in commits for oid in (one.oid, *one.parents))}
    bytes_of = span.repository.files_at(sorted(asked), sorted({path, old}))
    at = {oid: _read(bytes_of.get((oid, path)) or bytes_of.get((oid, old))) for oid in asked}
    who: dict[str, str] = {}
    for one in commits:
        if one.parents and all(any(_raised(at[parent], at[one.oid])) for parent in one.parents):
            who[one.oid[:12]] = one.author
    if after.commit is None and any(_raised(at[span.head], _on_disk(after.root / path))):
        who[_HERE] = span.repository.author() or ""
    if not who:
        return ["no commit of the change does it, so nobody knows who did; bring the branch up to date"]
    return [
        f"{author or 'nobody knows who'} did it ({where}) and is not among `cap_raisers` in [policy]"
        for where, author in who.items()
        if author.casefold() not in may
    ]


def _raised(before: _Caps, after: _Caps) -> Iterator[str]:
    for name, account in after.accounts.items():
        if name not in before.accounts:
            yield f"workspace {name} is new"
        elif before.accounts[name] != account:
            yield f"workspace {name} pays elsewhere"
    gone = {name for name in before.accounts if name not in after.accounts}
    for (owner, period), micros in before.caps.items():
        now = after.caps.get((owner, period))
        what = f"the cap of {owner or 'the recipe'} by {period}" if period != "run" else "the cap of each run"
        if now is None and owner not in gone:
            yield f"{what} is gone"
        elif now is not None and now > micros:
            yield f"{what} is raised from {short(micros)} to {short(now)}"
    if before.policy != after.policy:
        yield "[policy] is changed"
    if before.approvers != after.approvers:
        yield "[approvers] is changed"


def _on_disk(path: Path) -> _Caps:
    try:
        return _read(path.read_bytes())
    except OSError:
        return _Caps()


def _read(content: bytes | None) -> _Caps:
    """The caps that a file declares; none when it cannot be read: then no commit explains a cap that comes later."""
    if content is None or len(content) > BYTES_MAX:
        return _Caps()
    try:
        data = tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        return _Caps()
    workspaces = _tables(data.get("workspaces"))
    caps = dict(_of("", data.get("budget")))
    for name, table in workspaces.items():
        caps |= _of(name, table.get("budget"))
    accounts = {name: (str(one.get("endpoint")), str(one.get("currency"))) for name, one in workspaces.items()}
    return _Caps(caps, accounts, data.get("policy"), data.get("approvers"))


def _of(owner: str, budget: object) -> dict[tuple[str, str], int]:
    found = {}
    for period, text in budget.items() if isinstance(budget, dict) else ():
        micros = billed(text)
        if micros is not None:
            found[owner, str(period)] = micros
    return found


def _tables(found: object) -> dict[str, dict[str, Any]]:
    return {name: one for name, one in found.items() if isinstance(one, dict)} if isinstance(found, dict) else {}
