"""`omixa approve`: sign a frozen plan, up to an amount and for a while; and make the key to sign with."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from runner.approvals import Frozen
    from runner.settings import Approver, Settings


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("plan", nargs="?", metavar="PLAN.json", help="the plan, as `omixa plan --out` wrote it")
    parser.add_argument("--max", metavar="AMOUNT", help="the most that it may cost, such as 12.00")
    parser.add_argument(
        "--expires", default="24h", metavar="SPAN", help="for how long, such as 90m or 3d (default: 24h)"
    )
    parser.add_argument("--key", metavar="FILE", help="your private key (default: ~/.config/omixa/approver.key)")
    parser.add_argument("--new-key", action="store_true", help="make a private key, and print the lines for omixa.toml")
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask; required where there is no terminal")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(
    *,
    project: str | None,
    plan: str | None,
    max: str | None,  # noqa: A002 - the option's name
    expires: str,
    key: str | None,
    new_key: bool,
    yes: bool,
    json: bool,
    **_: object,
) -> int:
    """Show what is approved, ask, and write the approval beside the plan. Opens no socket and no ledger."""
    from pathlib import Path

    from runner import approvals, windows
    from runner.errors import ExitCode, UsageError
    from runner.trail import approval

    key_path = _default_key() if key is None else Path(key)
    if new_key:
        if plan is not None or max is not None:
            raise UsageError("--new-key only makes a key", "approve the plan afterwards, when omixa.toml lists the key")
        _print_key(approval.new_key(key_path), key_path)
        return int(ExitCode.OK)
    if plan is None or max is None:
        raise UsageError("say which plan, and the most that it may cost", "omixa approve plan.json --max 12.00")
    amount_micros, at = _amount(max), windows.clock()
    until = at + _span(expires)
    frozen = approvals.read_plan(Path(plan))
    settings = _settings(project)
    signer, public = approval.load_key(key_path)
    owner = _owner(public, settings)
    _refuse(owner, amount_micros, frozen, settings)
    _show(frozen, amount_micros, until, settings)
    _ask(owner.name, yes=yes)
    signed = approval.sign(
        signer,
        plan=frozen.digest,
        amount_micros=amount_micros,
        currency=frozen.plan.workspace.currency,
        approver=owner.name,
        at=at,
        until=until,
    )
    written = approvals.approval_path(frozen.path, owner.name)
    approvals.write_json(written, signed.record())
    if json:
        from json import dumps

        print(dumps(signed.record(), indent=2))
    else:
        print(f"approved by {owner.name}: `{written}`")
        print(_what_now(frozen.path, plan, settings))
    return int(ExitCode.OK)


def _default_key() -> "Path":
    import os
    from pathlib import Path

    folder = os.environ.get("XDG_CONFIG_HOME")
    return (Path(folder) if folder else Path.home() / ".config") / "omixa" / "approver.key"


def _print_key(public: str, path: "Path") -> None:
    from runner.settings_tables import FILE_NAME

    print(f"made `{path}`: keep it to yourself, and out of the repository", file=sys.stderr)
    print(f"put your name and address into these lines, and have them reviewed into {FILE_NAME}:", file=sys.stderr)
    print(f'[approvers.NAME]\nkey = "{public}"\nemail = "you@example.com"')


def _what_now(path: "Path", plan: str, settings: "Settings") -> str:
    """What buys the plan, when enough have approved it."""
    from runner.approvals import is_of_slot

    if is_of_slot(path, settings):
        return "a scheduler buys it within a minute, when enough have approved; `omixa schedule history` tells"
    return f"omixa run --plan {plan}"


def _amount(text: str) -> int:
    from runner.errors import UsageError
    from runner.money import AmountError, declared

    try:
        micros = declared(text)
    except AmountError as error:
        raise UsageError(f"--max: {error}") from None
    if not micros:
        raise UsageError("--max: an approval of nothing approves nothing", "write such as --max 12.00")
    return micros


def _span(text: str) -> Any:
    from runner.errors import UsageError
    from runner.settings_tables import span

    found = span(text)
    if found is None:
        raise UsageError(f"--expires: `{text[:40]}` is not a span of time", "write such as 90m, 24h or 3d")
    return found


def _settings(project: str | None) -> "Settings":
    from runner import settings as settings_file
    from runner.diagnostics import Problems
    from runner.project import find_root

    settings, problems = settings_file.load(find_root(project))
    if settings is None:
        raise Problems(problems)
    return settings


def _owner(public: str, settings: "Settings") -> "Approver":
    from runner.errors import UsageError
    from runner.settings_tables import FILE_NAME

    for one in settings.approvers.values():
        if one.key == public:
            return one
    raise UsageError(
        f"{FILE_NAME} does not list your key, so your approval would count for nothing",
        f'have it reviewed into {FILE_NAME}: [approvers.NAME] with key = "{public}"',
    )


def _refuse(owner: "Approver", amount_micros: int, frozen: "Frozen", settings: "Settings") -> None:
    """Say at once what would be refused later. Raises ApprovalRefused."""
    from runner.approvals import not_allowed
    from runner.diagnostics import ApprovalRefused

    authors = {one.name: one.author for one in frozen.plan.recipes}
    problems = list(not_allowed(owner, amount_micros, frozen.plan, settings, authors))
    if problems:
        raise ApprovalRefused(problems)


def _show(frozen: "Frozen", amount_micros: int, until: "datetime", settings: "Settings") -> None:
    """To stderr: what is signed."""
    from runner.money import show
    from runner.planfile import as_text
    from runner.terminal import clean
    from runner.windows import local_text

    plan = frozen.plan
    unit = clean(plan.workspace.currency)
    print(as_text(plan, frozen.digest), file=sys.stderr)
    here = settings.workspaces.get(plan.workspace.name)
    zone = here.time_zone if here is not None else "UTC"
    print(f"\nto be approved: at most {show(amount_micros, unit)}, until {local_text(until, zone)}", file=sys.stderr)
    one_micros = plan.one_micros
    if one_micros is not None and amount_micros < one_micros:
        text = f"nothing can be bought with that: one picture may cost {show(one_micros, unit)}"
        print(f"note: {text}; approve as much or more", file=sys.stderr)
    elif amount_micros < plan.worst_micros:
        text = "that is less than the plan may cost; a run stops where the next picture could pass it"
        print(f"note: {text}", file=sys.stderr)
    sys.stderr.flush()


def _ask(name: str, *, yes: bool) -> None:
    from runner.errors import UsageError

    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("nobody can be asked whether this is approved", "look at the plan, then add --yes")
    print(f"Sign as {name}? [y/N] ", end="", file=sys.stderr, flush=True)
    try:
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        answer = ""
    if not answer.endswith("\n"):
        print("", file=sys.stderr)
    if answer.strip().lower() not in ("y", "yes"):
        raise UsageError("not approved; nothing was written", "answer `y`, or add --yes")
