"""Prometheus' own parser reads every number of the ledger, and none more."""

import sys
from collections.abc import Iterator
from copy import copy
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from http.client import HTTPConnection
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from runner import __version__
from runner.errors import LedgerError, UsageError
from runner.ledger.agenda import Agenda
from runner.ledger.database import Database, open_database
from runner.ledger.gauges import Account, Gauges, Looks, WindowGauge
from runner.ledger.ledger import Ledger
from runner.ledger.values import Cap
from runner.money import LIMIT_MICROS, exact
from runner.monitor import http, metrics
from tests.ledger.conftest import MONTH, NOON, Desk, no_uptime

Series = tuple[str, tuple[tuple[str, str], ...]]

NASTY = 'a "quoted" \\ back\\nslash\nand a {line="x"} 1\n# HELP Büro\t漢'
EMPTY = Gauges(
    windows=(),
    units={},
    billed_micros={},
    attempts_ended={},
    attempts_open={},
    slots_ended={},
    slots_open={},
    queue_length=0,
    unknown_oldest_s={},
)
FULL = Gauges(
    windows=(
        WindowGauge("studio", "workspace", "", "month", "USD", 1_000_000, 975_000, 39_000),
        WindowGauge("studio", "recipe", "posters", "day", "USD", 250_000, 78_000, 0),
        WindowGauge(NASTY, "workspace", "", "total", "EUR", 999_999_999_999_999, 1, 1_234_567_891),
    ),
    units={"studio": "USD", NASTY: "EUR"},
    billed_micros={"studio": 12_345_678, NASTY: 0},
    attempts_ended={("studio", "settled", "billed"): 316, ("studio", "released", "declined"): 2},
    attempts_open={("studio", "unknown", "no-answer"): 1, ("studio", "reserved", ""): 3, (NASTY, "sent", ""): 4},
    slots_ended={("studio", "posters", "ran"): 30, ("studio", "posters", "missed"): 5, ("studio", NASTY, "failed"): 6},
    slots_open={("studio", "posters", "waiting"): 7, ("studio", "scans", "running"): 8},
    queue_length=7,
    unknown_oldest_s={"studio": 86_401, NASTY: 0},
)
TYPES = {
    "omixa_build": "info",
    "omixa_budget_cap_amount": "gauge",
    "omixa_budget_settled_amount": "gauge",
    "omixa_budget_open_amount": "gauge",
    "omixa_budget_headroom_amount": "gauge",
    "omixa_billed_amount": "counter",
    "omixa_attempts": "counter",
    "omixa_attempts_open": "gauge",
    "omixa_slots": "counter",
    "omixa_slots_open": "gauge",
    "omixa_queue_slots": "gauge",
    "omixa_unknown_oldest_age_seconds": "gauge",
}


def series(name: str, /, **labels: str) -> Series:
    return name, tuple(sorted(labels.items()))


def read(octets: bytes) -> dict[Series, float]:
    """Every number of ours, by its series; each series comes once."""
    found: dict[Series, float] = {}
    for family in text_string_to_metric_families(octets.decode()):
        for sample in family.samples:
            if sample.name.startswith("omixa_"):
                key = series(sample.name, **sample.labels)
                assert key not in found
                found[key] = sample.value
    return found


BUILD = {series("omixa_build_info", version=__version__): 1.0}


def windows(
    workspace: str, scope: str, recipe: str, period: str, unit: str, amounts: tuple[str, str, str, str]
) -> dict[Series, float]:
    names = ("cap", "settled", "open", "headroom")
    labels = {"workspace": workspace, "scope": scope, "recipe": recipe, "period": period, "unit": unit}
    return {
        series(f"omixa_budget_{name}_amount", **labels): float(text) for name, text in zip(names, amounts, strict=True)
    }


def attempts(name: str, workspace: str, state: str, code: str) -> Series:
    return series(name, workspace=workspace, state=state, code=code)


def slots(name: str, workspace: str, recipe: str, state: str) -> Series:
    return series(name, workspace=workspace, recipe=recipe, state=state)


ALL = {
    **BUILD,
    **windows("studio", "workspace", "", "month", "USD", ("1", "0.975", "0.039", "-0.014")),
    **windows("studio", "recipe", "posters", "day", "USD", ("0.25", "0.078", "0", "0.172")),
    **windows(
        NASTY, "workspace", "", "total", "EUR", ("999999999.999999", "0.000001", "1234.567891", "999998765.432107")
    ),
    series("omixa_billed_amount_total", workspace="studio", unit="USD"): 12.345678,
    series("omixa_billed_amount_total", workspace=NASTY, unit="EUR"): 0,
    attempts("omixa_attempts_total", "studio", "settled", "billed"): 316,
    attempts("omixa_attempts_total", "studio", "released", "declined"): 2,
    attempts("omixa_attempts_open", "studio", "unknown", "no-answer"): 1,
    attempts("omixa_attempts_open", "studio", "reserved", ""): 3,
    attempts("omixa_attempts_open", NASTY, "sent", ""): 4,
    slots("omixa_slots_total", "studio", "posters", "ran"): 30,
    slots("omixa_slots_total", "studio", "posters", "missed"): 5,
    slots("omixa_slots_total", "studio", NASTY, "failed"): 6,
    slots("omixa_slots_open", "studio", "posters", "waiting"): 7,
    slots("omixa_slots_open", "studio", "scans", "running"): 8,
    series("omixa_queue_slots"): 7,
    series("omixa_unknown_oldest_age_seconds", workspace="studio"): 86_401,
    series("omixa_unknown_oldest_age_seconds", workspace=NASTY): 0,
}


@pytest.fixture(autouse=True)
def quick_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_LOOK_S", 0.02)


# ---- the text


def test_every_number_is_read_back_and_there_is_no_other() -> None:
    assert read(metrics.exposition(lambda: FULL)()) == ALL


def test_every_number_comes_over_http() -> None:
    with http.serve(0, health=lambda: (True, {}), metrics=metrics.exposition(lambda: FULL)) as server:
        connection = HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.request("GET", "/metrics", headers={"Accept": "application/openmetrics-text"})
        answer = connection.getresponse()
        assert answer.getheader("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
        assert read(answer.read()) == ALL
        connection.close()


def test_each_metric_has_its_type_and_says_what_it_is_also_without_a_series() -> None:
    for gauges in (EMPTY, FULL):
        text = metrics.exposition(partial(copy, gauges))().decode()
        families = {family.name: family for family in text_string_to_metric_families(text)}
        ours = {name: family for name, family in families.items() if name.startswith("omixa_")}
        # The format has no type for what never changes: it is a gauge that is 1.
        found = {name.removesuffix("_info"): family for name, family in ours.items()}
        assert {name: family.type for name, family in found.items()} == {**TYPES, "omixa_build": "gauge"}
        assert all(family.documentation.endswith(".") for family in found.values())


def test_a_ledger_without_anything_has_the_build_and_an_empty_queue() -> None:
    assert read(metrics.exposition(lambda: EMPTY)()) == {**BUILD, series("omixa_queue_slots"): 0}


def test_no_label_makes_a_new_series_each_month_or_run() -> None:
    labels = {name for _, pairs in read(metrics.exposition(lambda: FULL)()) for name, _ in pairs}
    assert labels == {"version", "workspace", "scope", "recipe", "period", "unit", "state", "code"}


def test_the_order_is_always_the_same() -> None:
    def ours(gauges: Gauges) -> list[str]:
        lines = metrics.exposition(lambda: gauges)().decode().split("\n")
        return [line for line in lines if line.startswith("omixa_")]

    counted = ("billed_micros", "attempts_ended", "attempts_open", "slots_ended", "slots_open", "unknown_oldest_s")
    turned = {name: dict(reversed(getattr(FULL, name).items())) for name in counted}
    assert ours(FULL) == ours(Gauges(**{name: getattr(FULL, name) for name in FULL.__slots__} | turned))


@given(st.integers(1 - LIMIT_MICROS, LIMIT_MICROS - 1))
def test_an_amount_is_written_as_exactly_its_six_decimals(micros: int) -> None:
    window = WindowGauge("studio", "workspace", "", "total", "USD", micros, 0, 0)
    gauges = Gauges(**{name: getattr(EMPTY, name) for name in EMPTY.__slots__} | {"windows": (window,)})
    lines = metrics.exposition(lambda: gauges)().decode().split("\n")
    (told,) = [line.rpartition(" ")[2] for line in lines if line.startswith("omixa_budget_cap_amount{")]
    assert Decimal(told) == Decimal(exact(micros))


# ---- a look


def test_each_scrape_is_a_look_of_its_own_and_there_is_none_before() -> None:
    looks: list[Gauges] = []

    def look() -> Gauges:
        looks.append(EMPTY if looks else FULL)
        return looks[-1]

    scrape = metrics.exposition(look)
    assert looks == []
    assert read(scrape()) == ALL
    assert read(scrape()) == {**BUILD, series("omixa_queue_slots"): 0}
    assert looks == [FULL, EMPTY]


def test_a_look_that_fails_is_no_answer_with_half_of_the_numbers() -> None:
    def fail() -> Gauges:
        raise LedgerError("`ledger.db` is damaged")

    scrape = metrics.exposition(fail)
    with pytest.raises(LedgerError):
        scrape()
    with http.serve(0, health=lambda: (True, {}), metrics=scrape) as server:
        connection = HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (503, b"`ledger.db` is damaged\n")
        connection.close()


def test_it_also_tells_what_this_process_uses() -> None:
    families = text_string_to_metric_families(metrics.exposition(lambda: EMPTY)().decode())
    process = {family.name: family.samples[0].value for family in families if family.name.startswith("process_")}
    if not Path("/proc/self/stat").exists():
        pytest.skip("prometheus-client reads /proc")
    assert process["process_resident_memory_bytes"] > 1_000_000
    assert process["process_cpu_seconds"] > 0


def test_two_of_them_share_nothing() -> None:
    one, another = metrics.exposition(lambda: FULL), metrics.exposition(lambda: EMPTY)
    assert read(one()) == ALL
    assert len(read(another())) == 2


# ---- of a real ledger


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with open_database(tmp_path / "home" / "ledger.db", create=True) as opened:
        yield opened


def used(database: Database) -> Desk:
    """A ledger with an attempt of each kind and a slot of some."""
    desk = Desk(Ledger(database, uptime=no_uptime))
    desk.buy("a")
    desk.buy("b", billed=40_000, amount=41_000)
    desk.release(desk.send("c"))
    desk.lose(desk.send("d"))
    desk.pass_time(minutes=10)
    desk.lose(desk.send("e"))
    desk.send("f")
    desk.reserve("g", amount=50_000)
    agenda, who = Agenda(database, uptime=no_uptime), "ana@desk"
    for recipe, ends in (("posters", True), ("scans", False), ("logos", None)):
        slot = agenda.claim(recipe, desk.at, "studio", owner="one", who=who, at=desk.at)
        assert slot is not None
        if ends is not None:
            agenda.begin(slot.id, owner="one", who=who, at=desk.at)
        if ends:
            agenda.end(slot.id, "ran", "all was bought", who=who, at=desk.at)
    return desk


ENDED = {
    series("omixa_billed_amount_total", workspace="studio", unit="USD"): 0.079,
    attempts("omixa_attempts_total", "studio", "settled", "billed"): 2,
    attempts("omixa_attempts_total", "studio", "released", "declined"): 1,
    slots("omixa_slots_total", "studio", "posters", "ran"): 1,
}
OPEN = {
    attempts("omixa_attempts_open", "studio", "unknown", "no-answer"): 2,
    attempts("omixa_attempts_open", "studio", "sent", ""): 1,
    attempts("omixa_attempts_open", "studio", "reserved", ""): 1,
    slots("omixa_slots_open", "studio", "scans", "running"): 1,
    slots("omixa_slots_open", "studio", "logos", "waiting"): 1,
    series("omixa_queue_slots"): 1,
}


def test_every_number_is_that_of_the_ledger(database: Database) -> None:
    desk, looks = used(database), Looks(database)
    at = NOON + timedelta(hours=1, microseconds=999_999)
    caps = [MONTH, Cap("workspace", "", "day", 200_000), Cap("recipe", "posters", "total", 500_000)]
    scrape = metrics.exposition(lambda: looks.look(at, [Account("studio", "Europe/Berlin", caps)]))
    # Open: two unknown and one sent at what the highest bill was, and one of 0.050 reserved.
    taken = ("0.079", "0.17")
    assert read(scrape()) == {
        **BUILD,
        **ENDED,
        **OPEN,
        **windows("studio", "workspace", "", "month", "USD", ("1", *taken, "0.751")),
        **windows("studio", "workspace", "", "day", "USD", ("0.2", *taken, "-0.049")),
        **windows("studio", "recipe", "posters", "total", "USD", ("0.5", *taken, "0.251")),
        series("omixa_unknown_oldest_age_seconds", workspace="studio"): 3600,
    }
    desk.buy("h", billed=1)
    after = read(scrape())
    assert after[series("omixa_billed_amount_total", workspace="studio", unit="USD")] == 0.079001
    assert after[attempts("omixa_attempts_total", "studio", "settled", "billed")] == 3


def test_a_ledger_is_rendered_as_it_is_now_and_with_the_caps_it_knows(database: Database) -> None:
    render = metrics.renderer(database)
    assert render is not None
    assert read(render()) == {**BUILD, series("omixa_queue_slots"): 0}
    used(database)
    before = datetime.now(UTC)
    found = read(render())
    after = datetime.now(UTC)
    assert ENDED.items() | OPEN.items() <= found.items()
    budget = {name for name in found if name[0] == "omixa_budget_cap_amount"}
    assert budget == {key for key in windows("studio", "workspace", "", "month", "USD", ("1",) * 4) if "cap" in key[0]}
    (age_s,) = [value for (name, _), value in found.items() if name == "omixa_unknown_oldest_age_seconds"]
    earliest, latest = (max(0, (at - NOON) // timedelta(seconds=1)) for at in (before, after))
    assert earliest <= age_s <= latest


def test_declared_caps_are_asked_for_at_each_scrape(database: Database) -> None:
    used(database)
    declared: list[Account] = []
    render = metrics.renderer(database, lambda: declared)
    assert render is not None
    assert not any("budget" in name for name, _ in read(render()))
    declared.append(Account("studio", "Europe/Berlin", [Cap("workspace", "", "total", 2_000_000)]))
    expected = windows("studio", "workspace", "", "total", "USD", ("2", "0.079", "0.17", "1.751"))
    assert expected.items() <= read(render()).items()


# ---- without the extra


def test_without_prometheus_client_there_is_no_renderer_and_it_is_said_why(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)  # as Python has what cannot be imported
    assert metrics.renderer(database) is None
    with pytest.raises(UsageError, match="prometheus-client, which is not installed") as caught:
        metrics.exposition(lambda: EMPTY)
    assert caught.value.hint == "pip install 'omixa-runner[metrics]'"
