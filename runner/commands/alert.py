"""`omixa alert`: what was told without being asked and whether it arrived; try the channels; look and send once."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from runner.commands import reading

if TYPE_CHECKING:
    from pathlib import Path

    from runner.ledger.alerting import Alert, Sending
    from runner.ledger.occasions import Occasion
    from runner.recipe import Recipe
    from runner.settings import Settings

SCHEMA = "omixa.alerts/1"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The sub-commands and their arguments."""
    actions = parser.add_subparsers(dest="action", metavar="list|test|check|retry", title="actions", required=True)

    listing = actions.add_parser("list", help="every alert and what became of it, the newest last", allow_abbrev=False)
    listing.add_argument("--limit", type=int, default=50, metavar="N", help="at most the N newest (default: 50)")
    listing.add_argument("--json", action="store_true", help="one JSON object on stdout")

    test = actions.add_parser("test", help="send a test alert now", allow_abbrev=False)
    test.add_argument("--to", metavar="NAME", help="only to this channel (default: all)")

    actions.add_parser("check", help="look once, and send what waits; for cron", allow_abbrev=False)
    actions.add_parser("retry", help="try now what waits or was given up", allow_abbrev=False)


def run(*, project: str | None, action: str, **options: Any) -> int:
    """List, test, check or retry."""
    match action:
        case "list":
            return _list(project, options["limit"], as_json=options["json"])
        case "test":
            return _test(project, options["to"])
        case "check":
            return _check(project)
        case _:
            return _retry(project)


# ---- list


def _list(project: str | None, limit: int, *, as_json: bool) -> int:
    from json import dumps

    from runner.errors import ExitCode, UsageError
    from runner.ledger import alerting

    if limit < 1:
        raise UsageError(f"`--limit` is the most alerts to list, at least 1; found {limit}")
    with reading.ledger(project) as (settings, database):
        found = alerting.count(database)
        shown = [_record(alert, sendings) for alert, sendings in alerting.alerts(database, newest=limit)]
    channels = _channels(settings)
    if as_json:
        print(dumps({"schema": SCHEMA, "found": found, "channels": channels, "alerts": shown}, indent=2))
        return int(ExitCode.OK)
    print(_listing(shown) if shown else "no alerts")
    if found > len(shown):
        print(f"the newest {len(shown)} of {found}; --limit {found} lists all", file=sys.stderr)
    _warn(channels)
    return int(ExitCode.OK)


def _record(alert: "Alert", sendings: "list[Sending]") -> dict[str, Any]:
    """An alert as JSON has it; moments in UTC, None where it does not apply."""
    from runner.ledger.database import moment

    return {
        "key": alert.key,
        "kind": alert.kind,
        "workspace": alert.workspace,
        "message": alert.message,
        "help": alert.hint,
        "at": moment(alert.at),
        "who": alert.who,
        "sendings": [
            {
                "channel": one.channel,
                "state": one.state,
                "tries": one.tries,
                "next_at": None if one.next_at is None else moment(one.next_at),
                "error": one.error,
                "at": moment(one.at),
            }
            for one in sendings
        ],
    }


def _channels(settings: "Settings") -> list[dict[str, Any]]:
    """The channels of omixa.toml, and what is known against each; never what their URLs are."""
    from runner.alerts import trouble

    found = []
    for channel in settings.alerts.channels:
        known = trouble(channel, settings)
        found.append(
            {
                "name": channel.name,
                "kind": "command" if channel.command is not None else "apprise",
                "trouble": None if known is None else known[0],
                "help": None if known is None else known[1],
            }
        )
    return found


def _warn(channels: list[dict[str, Any]]) -> None:
    from runner.terminal import clean

    if not channels:
        print("note: omixa.toml has no [[alerts.to]]: alerts are recorded, and sent nowhere", file=sys.stderr)
    for channel in channels:
        if channel["trouble"] is not None:
            print(f"warning: nothing can arrive on {channel['name']}: {clean(channel['trouble'])}", file=sys.stderr)
            print(f"   = help: {channel['help']}", file=sys.stderr)


def _listing(shown: list[dict[str, Any]]) -> str:
    from runner.terminal import clean

    lines = []
    for one in shown:
        lines.append(f"{one['at'][:16].replace('T', ' ')} UTC  {one['kind']}  {clean(one['message'])}")
        for sending in one["sendings"]:
            lines.append(f"    {how_far(sending)}")
        if not one["sendings"]:
            lines.append("    sent nowhere")
    return "\n".join(lines)


def how_far(sending: dict[str, Any]) -> str:
    """How far an alert has come on a channel, in words: `ops: sent 2026-11-22 16:47 UTC`."""
    from runner.terminal import clean

    why = "" if sending["error"] is None else f": {clean(sending['error'])}"
    match sending["state"]:
        case "sent":
            return f"{sending['channel']}: sent {_utc(sending['at'])}"
        case "given-up":
            return f"{sending['channel']}: GIVEN UP, tried {_times(sending['tries'])}{why}"
        case _ if sending["tries"] == 0:
            return f"{sending['channel']}: waiting"
        case _:
            return f"{sending['channel']}: tried {_times(sending['tries'])}, again {_utc(sending['next_at'])}{why}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _utc(moment: str) -> str:
    return f"{moment[:16].replace('T', ' ')} UTC"


# ---- test


def _test(project: str | None, name: str | None) -> int:
    from runner import alerts
    from runner.windows import clock

    with reading.ledger(project, create=True) as (settings, database):
        wanted = _named(settings, name)
        at = clock()
        alert = alerts.record_test(database, wanted, at=at)
        done = alerts.deliver(settings, database, at=at, only=alert.key)
    return told(done)


def _named(settings: "Settings", name: str | None) -> list[str]:
    """The channels that are meant. Raises UsageError when there is none."""
    from runner.diagnostics import did_you_mean
    from runner.errors import UsageError

    known = [channel.name for channel in settings.alerts.channels]
    if not known:
        raise UsageError("omixa.toml has no [[alerts.to]], so nothing can be sent", "docs/alerts.md has examples")
    if name is None:
        return known
    if name in known:
        return [name]
    closest = did_you_mean(name, known)
    listed = ", ".join(f"`{one}`" for one in known)
    raise UsageError(f"there is no channel `{name}`", f"did you mean `{closest}`?" if closest else f"known: {listed}")


def told(done: "list[Sending]") -> int:
    """Say of each sending what became of it; the exit code: FAILED when one did not arrive."""
    from runner.errors import ExitCode
    from runner.ledger.database import moment
    from runner.terminal import clean

    for one in done:
        if one.state == "sent":
            print(f"{one.channel}: sent")
            continue
        again = "it is not tried again" if one.next_at is None else f"it is tried again {_utc(moment(one.next_at))}"
        print(f"{one.channel}: not sent: {clean(one.error or '')}; {again}")
    return int(ExitCode.OK if all(one.state == "sent" for one in done) else ExitCode.FAILED)


# ---- check and retry


def _check(project: str | None) -> int:
    from runner import alerts
    from runner.mailing import Postman
    from runner.ringing import contradicted
    from runner.terminal import clean
    from runner.windows import clock

    with reading.ledger(project, create=True) as (settings, database):
        recipes, invalid = _recipes(settings.root)
        at, occasions = clock(), [*invalid, *contradicted(database, settings)]
        for alert in alerts.evaluate(settings, recipes, database, at=at, told=occasions):
            print(f"{alert.kind}: {clean(alert.message)}")
        for alert in Postman().post(settings, database, at=at):
            print(clean(alert.message))
        return told(alerts.deliver(settings, database, at=at))


def _recipes(root: "Path") -> "tuple[list[Recipe], list[Occasion]]":
    """The recipes that can be used, and what there is to tell of the others."""
    from runner.alerts import recipe_invalid
    from runner.project import load_all, recipe_paths

    _, recipes, _ = load_all(root, [])
    good = {recipe.name for recipe in recipes}
    broken = [path for path in recipe_paths(root, []) if path.stem not in good]
    return recipes, [recipe_invalid(path.stem, None, _digest(path)) for path in broken]


def _digest(path: "Path") -> str | None:
    from hashlib import sha256

    from runner.tomlfile import BYTES_MAX, read_regular

    try:
        return sha256(read_regular(path, BYTES_MAX, links=True)).hexdigest()
    except OSError:
        return None


def _retry(project: str | None) -> int:
    from runner import alerts
    from runner.identity import who
    from runner.ledger.alerting import Alerting
    from runner.terminal import counted
    from runner.windows import clock

    with reading.ledger(project) as (settings, database):
        at = clock()
        again = Alerting(database).retry(who=who(), at=at) if database.path is not None else 0
        print(f"{counted(again, 'message')} to send")
        return told(alerts.deliver(settings, database, at=at))
