"""`omixa report --send` and `--scheduled`: the reports that omixa.toml has sent by itself."""

from typing import TYPE_CHECKING, Any

from runner.commands import reading

if TYPE_CHECKING:
    from runner.mailing import Standing
    from runner.settings import ReportOrder, Settings

SCHEMA = "omixa.report.scheduled/1"


def send(project: str | None, name: str) -> int:
    """Make a report now and send it to its channels; FAILED when it did not arrive everywhere."""
    from runner import alerts, mailing
    from runner.commands.alert import told
    from runner.diagnostics import Problems
    from runner.terminal import clean
    from runner.windows import clock

    with reading.ledger(project, create=True) as (settings, database):
        order = _named(settings, name)
        wrong = mailing.problems(settings)
        if wrong:
            raise Problems(wrong)
        at = clock()
        alert = mailing.post_now(order, settings, database, at=at)
        print(clean(alert.message))
        return told(alerts.deliver(settings, database, at=at, only=alert.key))


def _named(settings: "Settings", name: str) -> "ReportOrder":
    from runner.diagnostics import did_you_mean
    from runner.errors import UsageError

    if name in settings.reports:
        return settings.reports[name]
    if not settings.reports:
        raise UsageError("omixa.toml has no [reports.NAME]", "docs/reports.md has an example")
    closest = did_you_mean(name, settings.reports)
    listed = ", ".join(f"`{one}`" for one in settings.reports)
    raise UsageError(f"there is no report `{name}`", f"did you mean `{closest}`?" if closest else f"known: {listed}")


def listing(project: str | None, *, as_json: bool) -> int:
    """Show each report: when it comes next, and what became of the newest."""
    import json

    from runner import mailing
    from runner.errors import ExitCode
    from runner.windows import clock

    with reading.ledger(project) as (settings, database):
        found = [_record(one) for one in mailing.standings(settings, database, at=clock())]
    if as_json:
        print(json.dumps({"schema": SCHEMA, "reports": found}, indent=2))
    else:
        print("\n".join(map(_told, found)) or "omixa.toml has no [reports.NAME]")
    return int(ExitCode.OK)


def _record(one: "Standing") -> dict[str, Any]:
    from runner.ledger.database import moment

    order = one.order
    return {
        "name": order.name,
        "schedule": str(order.timing),
        "time_zone": order.timing.zone,
        "to": list(order.to),
        "formats": list(order.formats),
        "next_at": None if one.next_at is None else moment(one.next_at),
        "newest": None
        if one.newest is None
        else {
            "at": moment(one.newest.at),
            "message": one.newest.message,
            "sendings": [
                {
                    "channel": sending.channel,
                    "state": sending.state,
                    "tries": sending.tries,
                    "at": moment(sending.at),
                    "next_at": None if sending.next_at is None else moment(sending.next_at),
                    "error": sending.error,
                }
                for sending in one.sendings
            ],
        },
    }


def _told(one: dict[str, Any]) -> str:
    from datetime import datetime

    from runner.commands.alert import how_far
    from runner.terminal import clean
    from runner.windows import local_text

    zone = one["time_zone"]
    comes = "never" if one["next_at"] is None else local_text(datetime.fromisoformat(one["next_at"]), zone)
    lines = [f"{one['name']}  next {comes}, {', '.join(one['formats'])} to {', '.join(one['to'])}"]
    newest = one["newest"]
    if newest is None:
        return f"{lines[0]}\n    none was made yet"
    lines.append(f"    {clean(newest['message'])}")
    return "\n".join([*lines, *(f"    {how_far(sending)}" for sending in newest["sendings"])])
