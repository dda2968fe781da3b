"""omixa.toml → Settings, or every Problem in it. What problems look like is in tests/problems."""

from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from runner import settings
from runner.diagnostics import Problem

SETTINGS: dict[str, Any] = {
    "endpoints": {"omixa": {"url": "http://omixa.cloud/api/v1/", "allow_plaintext": True}},
    "workspaces": {
        "studio": {
            "endpoint": "omixa",
            "api_key": {"env": "OMIXA_API_KEY"},
            "currency": "USD",
            "time_zone": "Europe/Berlin",
            "budget": {"day": "5.00", "month": "50.00"},
            "ceilings": {"stability-upscale-creative": "0.70"},
        }
    },
    "presets": {"photo": {"style_preset": "photographic", "seed": 0}},
}


def load(folder: Path, data: dict[str, Any] | str) -> tuple[settings.Settings | None, list[Problem]]:
    text = data if isinstance(data, str) else tomli_w.dumps(data)
    (folder / "omixa.toml").write_text(text, encoding="utf-8")
    return settings.load(folder)


def loaded(folder: Path, data: dict[str, Any] | str) -> settings.Settings:
    made, problems = load(folder, data)
    assert problems == []
    assert made is not None
    return made


def with_workspace(**changes: Any) -> dict[str, Any]:
    """The settings with keys of the workspace changed; None leaves a key out."""
    workspace = {**SETTINGS["workspaces"]["studio"], **changes}
    kept = {key: value for key, value in workspace.items() if value is not None}
    return {**SETTINGS, "workspaces": {"studio": kept}}


def codes(folder: Path, data: dict[str, Any] | str) -> list[str]:
    made, problems = load(folder, data)
    assert (made is None) == bool(problems)
    return [problem.code for problem in problems]


def test_settings_are_read_with_money_in_micro_units(tmp_path: Path) -> None:
    made = loaded(tmp_path, SETTINGS)
    workspace = made.workspaces["studio"]
    assert workspace.name == "studio"
    assert workspace.budget == {"day": 5_000_000, "month": 50_000_000}
    assert workspace.ceilings == {"stability-upscale-creative": 700_000}
    assert workspace.api_key == settings.KeySource(env="OMIXA_API_KEY")
    assert (workspace.concurrency, workspace.unlimited) == (4, False)
    assert made.endpoints["omixa"].url == "http://omixa.cloud/api/v1"
    assert made.endpoints["omixa"].timeout_s == 600
    assert made.presets == {"photo": {"style_preset": "photographic", "seed": 0}}
    assert made.root == tmp_path


def test_the_sandbox_is_always_there(tmp_path: Path) -> None:
    made = loaded(tmp_path, SETTINGS)
    assert made.endpoints["sandbox"].url is None
    assert made.sandbox == settings.SandboxSettings(price_micros=39_000, latency_ms=0)
    made = loaded(tmp_path, {**SETTINGS, "sandbox": {"price": "0.5", "latency_ms": 20}})
    assert made.sandbox == settings.SandboxSettings(price_micros=500_000, latency_ms=20)


def test_the_sandbox_needs_no_key(tmp_path: Path) -> None:
    made = loaded(tmp_path, with_workspace(endpoint="sandbox", api_key=None))
    assert made.workspaces["studio"].api_key is None


def test_the_ledger_is_relative_to_the_project_unless_absolute(tmp_path: Path) -> None:
    assert settings.ledger_path(loaded(tmp_path, SETTINGS)) == tmp_path / ".omixa/ledger.db"
    made = loaded(tmp_path, {**SETTINGS, "ledger": {"url": "sqlite:////var/omixa.db"}})
    assert settings.ledger_path(made) == Path("/var/omixa.db")


def test_a_key_file_is_relative_to_the_project_or_to_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/us")
    for declared, expected in [("key.txt", tmp_path / "key.txt"), ("~/key.txt", Path("/home/us/key.txt"))]:
        made = loaded(tmp_path, with_workspace(api_key={"file": declared}))
        assert made.workspaces["studio"].api_key == settings.KeySource(file=expected)


@pytest.mark.parametrize(
    "url", ["http://localhost:8080/api/v1", "http://127.0.0.1/api", "http://127.9.9.9/api", "http://[::1]:80/x"]
)
def test_plain_http_to_this_machine_needs_no_leave(url: str, tmp_path: Path) -> None:
    assert codes(tmp_path, {**SETTINGS, "endpoints": {"omixa": {"url": url}}}) == []


@pytest.mark.parametrize("url", ["http://omixa.cloud/x", "http://10.0.0.1/x", "http://127.0.0.1.nip.io/x"])
def test_plain_http_to_another_machine_needs_leave(url: str, tmp_path: Path) -> None:
    assert codes(tmp_path, {**SETTINGS, "endpoints": {"omixa": {"url": url}}}) == ["plaintext-endpoint"]
    assert codes(tmp_path, {**SETTINGS, "endpoints": {"omixa": {"url": url.replace("http", "https")}}}) == []


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x/y",
        "https://",
        "https://u:p@x/y",
        "https://x/y?z=1",
        "https://x/y#z",
        "https://x:99999/y",
        "https://x y",
        "",
    ],
)
def test_a_bad_url_is_refused(url: str, tmp_path: Path) -> None:
    assert codes(tmp_path, {**SETTINGS, "endpoints": {"omixa": {"url": url}}}) == ["bad-url"]


@pytest.mark.parametrize(
    "url", ["postgresql://x/y", "postgres+psycopg://x/y", "sqlite://", "sqlite:///", "sqlite:///:memory:", "mysql://x"]
)
def test_only_a_sqlite_file_can_hold_the_ledger(url: str, tmp_path: Path) -> None:
    assert codes(tmp_path, {**SETTINGS, "ledger": {"url": url}}) == ["unsupported-ledger"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"budget": None}, "no-budget"),
        ({"budget": {}}, "no-budget"),
        ({"unlimited": True}, "budget-and-unlimited"),
        ({"budget": None, "unlimited": False}, "no-budget"),
        ({"ceilings": {"stability-upscale-creative": "0"}}, "zero-ceiling"),
        ({"ceilings": {"stability-upscale-creative": "0.000"}}, "zero-ceiling"),
        ({"ceilings": {"other": "1"}}, "unknown-model"),
        ({"api_key": None}, "missing-key-source"),
        ({"api_key": {}}, "bad-key-source"),
        ({"concurrency": 0}, "out-of-range"),
        ({"concurrency": 65}, "out-of-range"),
        ({"concurrency": True}, "wrong-type"),
        ({"currency": "US"}, "bad-currency"),
        ({"time_zone": "../etc/passwd"}, "bad-time-zone"),
        ({"time_zone": ""}, "bad-time-zone"),
        ({"time_zone": "Europe"}, "bad-time-zone"),
        ({"endpoint": "sandbx"}, "unknown-endpoint"),
    ],
)
def test_each_rule_of_a_workspace(changes: dict[str, Any], code: str, tmp_path: Path) -> None:
    assert codes(tmp_path, with_workspace(**changes)) == [code]


@pytest.mark.parametrize(
    "changes",
    [
        {"budget": None, "unlimited": True},
        {"budget": {"total": "0"}},
        {"concurrency": 1},
        {"concurrency": 64},
        {"ceilings": None},
        {"ceilings": {"stability-upscale-creative": "0.000001"}},
        {"time_zone": "UTC"},
    ],
)
def test_what_is_just_within_the_rules_of_a_workspace(changes: dict[str, Any], tmp_path: Path) -> None:
    assert codes(tmp_path, with_workspace(**changes)) == []


def test_a_budget_that_is_unlimited_is_an_empty_one(tmp_path: Path) -> None:
    workspace = loaded(tmp_path, with_workspace(budget=None, unlimited=True)).workspaces["studio"]
    assert (workspace.budget, workspace.unlimited) == ({}, True)


@pytest.mark.parametrize("value", [5, 5.0, True, "5,00", "-1", "1e3", "0.0000001", "1000000000", "５", ["1"]])
def test_money_is_text_of_the_strict_grammar(value: Any, tmp_path: Path) -> None:
    expected = "bad-amount" if isinstance(value, str) else "money-not-text"
    assert codes(tmp_path, with_workspace(budget={"day": value})) == [expected]


def test_problems_are_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = tomli_w.dumps(SETTINGS)
    text = text.replace('"USD"', '"usd"').replace('"photographic"', '"photo"').replace("api/v1/", "api/v1/?x")
    _, problems = load(tmp_path, text)
    assert [problem.code for problem in problems] == ["bad-url", "bad-currency", "unknown-choice"]
    lines = [problem.place.line or 0 for problem in problems if problem.place]
    assert lines == sorted(lines)


def test_thousands_of_problems_are_cut_short(tmp_path: Path) -> None:
    _, problems = load(tmp_path, "".join(f"a{i} = 1\n" for i in range(5000)))
    assert len(problems) == 101
    assert problems[-1].code == "too-many-problems"


def test_a_shared_preset_that_fits_another_model_is_no_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from runner.contracts import CONTRACTS

    contract = CONTRACTS["stability-upscale-creative"]
    strength = replace(next(field for field in contract.fields if field.name == "creativity"), name="strength")
    other = replace(contract, model="other", fields=(*contract.fields, strength))
    data = {**SETTINGS, "presets": {"strong": {"strength": 0.3}}}
    assert codes(tmp_path, data) == ["unknown-option"]
    monkeypatch.setitem(CONTRACTS, "other", other)
    assert codes(tmp_path, data) == []


VALUES = st.recursive(
    st.booleans() | st.integers(-1, 10**6) | st.floats() | st.text(max_size=8) | st.dates() | st.just("5.00"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
PATHS = [
    ("endpoints",),
    ("endpoints", "omixa"),
    ("endpoints", "omixa", "url"),
    ("endpoints", "omixa", "allow_plaintext"),
    ("endpoints", "omixa", "timeout_s"),
    ("ledger",),
    ("ledger", "url"),
    ("sandbox", "price"),
    ("workspaces",),
    ("workspaces", "studio"),
    *[("workspaces", "studio", key) for key in (*SETTINGS["workspaces"]["studio"], "concurrency", "unlimited", "x")],
    ("workspaces", "studio", "api_key", "file"),
    ("workspaces", "studio", "budget", "day"),
    ("workspaces", "studio", "ceilings", "x"),
    ("presets",),
    ("presets", "photo"),
    ("presets", "photo", "seed"),
    ("presets", "photo", "x"),
]


def changed(data: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """The data with one value put in, and tables made on the way."""
    inner = data.get(path[0], {})
    return {**data, path[0]: value if len(path) == 1 else changed(inner, path[1:], value)}


@hypothesis_settings(max_examples=400, deadline=None)
@given(path=st.sampled_from(PATHS), value=VALUES)
def test_any_value_anywhere_is_a_problem_with_a_place_or_none_at_all(
    tmp_path_factory: pytest.TempPathFactory, path: tuple[str, ...], value: Any
) -> None:
    root = tmp_path_factory.getbasetemp() / "settings-of-chance"
    root.mkdir(exist_ok=True)
    _, problems = load(root, changed(SETTINGS, path, value))
    assert all(problem.place is not None and problem.code != "bad-value" for problem in problems)
