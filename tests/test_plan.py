"""Every item of a plan has a decision and a reason, and the costs and fits add up. Pure: no disk, no ledger."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from runner import plan
from runner.contracts import CONTRACTS
from runner.images import Picture
from runner.plan import Before, Declined, Draft, Facts, Headroom, Live, Paid, Plan, Price, item_key

CONTRACT = CONTRACTS["stability-upscale-creative"]
PRICE = Price(declared_micros=700_000, highest_micros=None, median_micros=None)


def draft(name: str = "a", **changes: object) -> Draft:
    picture = Picture(
        path=Path(f"/p/{name}.png"),
        digest=f"digest-{name}",
        size_bytes=10,
        media_type="image/png",
        width=64,
        height=64,
        has_alpha=False,
        sixteen_bit=False,
        needs_preparing=False,
    )
    plain = Draft(
        source=picture.path,
        source_path=f"p/{name}.png",
        picture=picture,
        fault=None,
        prompt_name="restore",
        prompt="restore it",
        negative=None,
        preset_name="photo",
        options={"creativity": Decimal("0.3"), "output_format": "png"},
        key=f"key-{name}",
        output=Path(f"/out/{name}.png"),
        output_path=f"out/{name}.png",
        output_size=None,
    )
    return replace(plain, **changes)


def facts(**changes: object) -> Facts:
    empty = Facts(
        settled={},
        live={},
        declined={},
        before={},
        delivered={},
        price=PRICE,
        windows=[],
        is_kept=lambda digest: True,
        is_same_file=lambda path, digest: False,
    )
    return replace(empty, **changes)


def build(drafts: Sequence[Draft], known: Facts | None = None, **wishes: object) -> Plan:
    names: Mapping[str, str] = {
        "recipe": "posters",
        "workspace": "studio",
        "model": CONTRACT.model,
        "currency": "USD",
        "zone": "Europe/Berlin",
    }
    return plan.build(drafts, known or facts(), **names, **wishes)


def decided(one: Draft, known: Facts, **wishes: object) -> tuple[str, str]:
    item = build([one], known, **wishes).items[0]
    return item.action, item.reason


def _is_older(path: Path, digest: str) -> bool:
    return digest == "older"


PAID = Paid(7, "2026-11-20", "result", 100)


def test_what_was_never_asked_for_is_new() -> None:
    assert decided(draft(), facts()) == ("buy", "new")


def test_a_changed_request_says_what_changed() -> None:
    before = Before(
        source_digest="other",
        prompt_digest=plan.digest("another prompt"),
        negative_digest=plan.digest("text"),
        options={"creativity": "0.2", "output_format": "png", "seed": "77"},
        model=CONTRACT.model,
    )
    known = facts(before={("p/a.png", "restore", "photo"): before})
    assert decided(draft(), known) == (
        "buy",
        "picture changed, prompt changed, negative prompt changed, option creativity changed (0.2 → 0.3)",
    )


def test_an_option_written_with_another_number_of_zeros_has_not_changed() -> None:
    before = Before(
        "digest-a", plan.digest("restore it"), None, {"creativity": "0.3", "output_format": "png"}, CONTRACT.model
    )
    known = facts(before={("p/a.png", "restore", "photo"): before})
    one = draft(options={"creativity": Decimal("0.30"), "output_format": "png"})
    assert decided(one, known) == ("buy", "not bought yet: the last attempt was not billed")


@pytest.mark.parametrize(
    ("one", "known", "action", "words"),
    [
        (draft(key=None, fault="63 px side"), {}, "unsuitable", "63 px side"),
        (draft(), {"live": {"key-a": Live(3, "unknown")}}, "hold", "may have been billed"),
        (draft(), {"live": {"key-a": Live(3, "sent")}}, "hold", "is buying it now"),
        (draft(), {"settled": {"key-a": PAID}}, "restore", "already paid on 2026-11-20"),
        (
            draft(output_size=100),
            {"settled": {"key-a": PAID}, "delivered": {"out/a.png": "result"}},
            "skip",
            "already paid on 2026-11-20",
        ),
        # Retouched in place: another size, but it is our delivery, and it is left alone.
        (
            draft(output_size=333),
            {"settled": {"key-a": PAID}, "delivered": {"out/a.png": "result"}},
            "skip",
            "already paid",
        ),
        # An older delivery of ours stands there: the paid one replaces it.
        (
            draft(output_size=100),
            {"settled": {"key-a": PAID}, "delivered": {"out/a.png": "older"}, "is_same_file": _is_older},
            "restore",
            "already paid",
        ),
        # The same, but somebody has changed it since: it is theirs now.
        (
            draft(output_size=100),
            {"settled": {"key-a": PAID}, "delivered": {"out/a.png": "older"}},
            "hold",
            "or that was changed since",
        ),
        (draft(output_size=5), {"delivered": {"out/a.png": "older"}}, "hold", "or that was changed since"),
        (draft(output_size=5), {"settled": {"key-a": PAID}}, "hold", "a file that omixa did not write"),
        (draft(output_size=5), {}, "hold", "a file that omixa did not write"),
        (draft(output_size=5), {"delivered": {"out/a.png": "older"}, "is_same_file": _is_older}, "buy", "new"),
        (draft(), {"settled": {"key-a": replace(PAID, result_digest=None)}}, "hold", "no usable picture came"),
        (draft(), {"settled": {"key-a": PAID}, "is_kept": lambda digest: False}, "hold", "kept result is gone"),
        (
            draft(),
            {"declined": {"key-a": Declined(5, "2026-11-01", "not this picture")}},
            "hold",
            "declined on 2026-11-01 (attempt 5): not this picture",
        ),
    ],
)
def test_each_state_of_the_ledger_leads_to_its_decision(
    one: Draft, known: dict[str, object], action: str, words: str
) -> None:
    found_action, reason = decided(one, facts(**known))
    assert found_action == action
    assert words in reason


def test_a_file_that_is_byte_for_byte_the_paid_result_needs_no_record_of_delivery() -> None:
    known = facts(settled={"key-a": PAID}, is_same_file=lambda path, digest: digest == "result")
    assert decided(draft(output_size=100), known)[0] == "skip"


def test_reroll_buys_what_was_paid_or_declined_but_never_what_is_open() -> None:
    assert decided(draft(), facts(settled={"key-a": PAID}), reroll=True)[0] == "buy"
    assert decided(draft(), facts(declined={"key-a": Declined(5, "d", "m")}), reroll=True)[0] == "buy"
    assert decided(draft(), facts(live={"key-a": Live(3, "unknown")}), reroll=True)[0] == "hold"


def test_the_same_content_is_bought_once_within_a_plan_and_across_plans() -> None:
    twins = [draft("a"), draft("b", key="key-a")]
    first = build(twins)
    assert [(item.action, item.after) for item in first.items] == [("buy", None), ("restore", "out/a.png")]
    second = build([draft("c", key="key-a"), draft("d")], after=[first])
    assert [item.action for item in second.items] == ["restore", "buy"]


def test_limit_counts_what_is_bought() -> None:
    known = facts(settled={"key-a": PAID})
    made = build([draft(name) for name in "abcd"], known, limit=2)
    assert [item.action for item in made.items] == ["restore", "buy", "buy", "later"]


# ---- money


def headroom(cap: int, *, settled: int = 0, open_: int = 0, scope: str = "workspace") -> Headroom:
    return Headroom("month", scope, cap, settled, open_, None)


@pytest.mark.parametrize(
    ("cap", "price", "fits"),
    [
        (1_000_000, Price(39_000, None, None), 25),
        (1_000_000, Price(50_000, 39_000, 39_000), 25),
        (975_000, Price(39_000, None, None), 25),
        (974_999, Price(39_000, None, None), 24),
        (1_000_000, Price(700_000, 39_000, 39_000), 8),
        (38_999, Price(39_000, None, None), 0),
        (0, Price(39_000, None, None), 0),
        (1_000_000, Price(None, None, None), 0),
    ],
)
def test_what_fits_is_what_the_ledger_would_let_through_one_after_another(cap: int, price: Price, fits: int) -> None:
    assert headroom(cap).fits(price) == fits
    if price.ceiling_micros and price.expected_micros:
        settled, bought = 0, 0
        while settled + price.ceiling_micros <= cap:
            settled, bought = settled + price.expected_micros, bought + 1
        assert bought == fits


def test_costs_are_counted_for_what_is_bought_only() -> None:
    known = facts(settled={"key-a": PAID}, price=Price(700_000, 41_000, 39_000))
    made = build([draft(name) for name in "abc"], known)
    assert (made.buy_count, made.expected_micros, made.worst_micros) == (2, 78_000, 1_400_000)


def test_the_ceiling_is_the_higher_of_declared_and_seen() -> None:
    assert Price(700_000, 40_500_000, 39_000).ceiling_micros == 40_500_000
    assert Price(None, 39_000, 39_000).ceiling_micros == 39_000
    assert Price(None, None, None).ceiling_micros is None


def test_plans_that_run_first_are_taken_from_the_workspace_budgets_only() -> None:
    known = facts(windows=[headroom(1_000_000), headroom(1_000_000, scope="recipe")], price=Price(39_000, None, None))
    first = build([draft("a"), draft("b")], known)
    second = build([draft("c")], known, after=[first])
    assert [window.open_micros for window in second.windows] == [78_000, 0]


# ---- the item key


def key(**changes: object) -> str:
    plain = {
        "options": {"output_format": "png"},
        "prompt": "p",
        "negative": None,
        "picture_digest": "d",
        "flatten": None,
    }
    return plan.item_key(CONTRACT, **(plain | changes))


@pytest.mark.parametrize(
    "options",
    [
        {"output_format": "png", "creativity": Decimal("0.3")},
        {"output_format": "png", "creativity": Decimal("0.300")},
        {"creativity": Decimal("0.3"), "output_format": "png", "seed": 0},
    ],
)
def test_options_that_mean_the_same_make_the_same_item(options: dict[str, object]) -> None:
    assert key(options=options) == key()


@pytest.mark.parametrize(
    "changes",
    [
        {"options": {"output_format": "webp"}},
        {"options": {"output_format": "png", "creativity": Decimal("0.31")}},
        {"options": {"output_format": "png", "seed": 1}},
        {"options": {"output_format": "png", "style_preset": "anime"}},
        {"prompt": "p "},
        {"negative": ""},
        {"picture_digest": "e"},
        {"flatten": "#ffffff"},
    ],
)
def test_whatever_changes_the_purchase_makes_another_item(changes: dict[str, object]) -> None:
    assert key(**changes) != key()


def test_the_key_of_an_item_is_what_ledgers_in_the_field_have() -> None:
    """The digest of one JSON array, in this order: a key that changed would buy every picture again."""
    digest = hashlib.sha256(b"picture").hexdigest()
    for prompt, negative, flatten in (
        ("Restore it.", None, None),
        ('a "quoted" ü \n text', "", "#ffffff"),
        ("", "näh", None),
    ):
        identity = [
            1,
            "stability-upscale-creative",
            {"creativity": "0.3", "output_format": "png"},
            prompt,
            negative,
            digest,
            flatten,
        ]
        text = json.dumps(identity, sort_keys=True, ensure_ascii=False)
        assert (
            item_key(
                CONTRACT,
                {"creativity": Decimal("0.30"), "output_format": "png", "seed": 0},
                prompt=prompt,
                negative=negative,
                picture_digest=digest,
                flatten=flatten,
            )
            == hashlib.sha256(text.encode()).hexdigest()
        )


# ---- several steps


DEAR = Price(declared_micros=900_000, highest_micros=None, median_micros=300_000)


def of_steps(*items: plan.Item, **wishes: object) -> Plan:
    parts = [plan.Part("cut", "cutter", PRICE), plan.Part("large", "enlarger", DEAR, "cut")]
    windows = wishes.pop("windows", [])
    names = {"recipe": "posters", "workspace": "studio", "currency": "USD", "zone": "UTC"}
    return plan.assemble(parts, items, windows, **names, **wishes)  # type: ignore[arg-type]


def made_of(name: str, **changes: object) -> Draft:
    own = {"key": None, "step": "large", "origin": f"out/{name}.png", "lineage": f"lineage-{name}", "picture": None}
    return draft(f"{name}-large", **{"source": None, **own, **changes})


def bought(name: str) -> list[plan.Item]:
    first = plan.decide(draft(name, step="cut"), facts(), "cutter")
    return [first, plan.decide(made_of(name), facts(), "enlarger", origin=first)]


def test_steps_each_cost_what_their_model_does() -> None:
    made = of_steps(*bought("a"), *bought("b"))
    assert (made.buy_count, made.buys) == (4, {"cut": 2, "large": 2})
    assert made.expected_micros == 2 * 700_000 + 2 * 300_000
    assert made.worst_micros == 2 * 700_000 + 2 * 900_000
    # What one costs is their mean for a forecast, and at most the dearest.
    assert (made.price.expected_micros, made.price.ceiling_micros) == (500_000, 900_000)
    assert made.model == "cutter + enlarger"


def test_the_mean_of_steps_is_rounded_up_and_weighs_by_what_is_bought() -> None:
    made = of_steps(*bought("a"), plan.decide(draft("b", step="cut"), facts(), "cutter"))
    assert made.price.expected_micros == -(-(2 * 700_000 + 300_000) // 3)
    assert of_steps().price.expected_micros == 500_000
    assert (
        plan.price_of([*of_steps().parts, plan.Part("x", "other", Price(None, None, None))], {}).ceiling_micros is None
    )


@pytest.mark.parametrize(
    ("cap", "fits"), [(699_999, 0), (700_000, 1), (1_599_999, 1), (1_600_000, 2), (1_699_999, 2), (1_700_000, 3)]
)
def test_steps_fit_one_after_another_in_the_order_they_are_bought(cap: int, fits: int) -> None:
    window = Headroom("month", "workspace", cap, 0, 0, None)
    made = of_steps(*bought("a"), *bought("b"), windows=[window])
    assert [item.draft.step for item in made.items] == ["cut", "large", "cut", "large"]
    assert made.fits == fits


def test_items_of_steps_stand_behind_what_they_are_made_of() -> None:
    (a, of_a), (b, of_b) = bought("a"), bought("b")
    made = of_steps(a, b, of_b, of_a)
    assert [item.draft.output_path for item in made.items] == [
        *("out/a.png", "out/a-large.png"),
        *("out/b.png", "out/b-large.png"),
    ]


def test_with_a_limit_nothing_is_made_in_later_steps_of_what_is_not_bought() -> None:
    made = of_steps(*bought("a"), *bought("b"), limit=2)
    assert [item.action for item in made.items] == ["buy", "buy", "later", "later"]
    assert made.items[3].reason == "made of `out/b.png`, which is not bought now"
    assert [item.action for item in of_steps(*bought("a"), limit=1).items] == ["buy", "later"]


def test_what_is_the_same_in_steps_is_bought_once() -> None:
    first, then = bought("a")
    twin = replace(first, draft=draft("b", key="key-a", step="cut"))
    of_twin = replace(then, draft=made_of("b", lineage="lineage-a"))
    made = of_steps(first, then, twin, of_twin)
    assert [(item.action, item.after) for item in made.items] == [
        ("buy", None),
        ("buy", None),
        ("restore", "out/a.png"),
        ("restore", "out/a-large.png"),
    ]
    # And the recipe that runs afterwards does not buy it either.
    second = of_steps(twin, of_twin, after=[made])
    assert [item.action for item in second.items] == ["restore", "restore"]


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("hold", "made of `out/a.png`, which is held back: because"),
        ("unsuitable", "made of `out/a.png`, which cannot be made: because"),
        (
            "skip",
            (
                "made of `out/a.png`, whose kept result is gone, and what stands there cannot be read or was changed: "
                "make it readable or bring it back, for nothing, or --reroll buys it again"
            ),
        ),
    ],
)
def test_what_cannot_be_made_of_the_earlier_of_two_steps_is_held(action: plan.Action, expected: str) -> None:
    origin = plan.Item(draft("a", step="cut"), action, "because")
    item = plan.decide(made_of("a"), facts(), "enlarger", origin=origin)
    assert (item.action, item.reason) == ("hold", expected)


def test_two_steps_that_ask_about_one_picture_do_not_tell_of_each_other() -> None:
    before = Before("digest-a", plan.digest("restore it"), None, {}, "cutter")
    known = facts(before={("p/a.png", "restore", "photo"): before})
    assert plan.decide(draft(step="large"), known, "enlarger").reason == "new"
    assert plan.decide(draft(step="cut"), known, "cutter").reason != "new"
    assert "model changed (cutter → enlarger)" in plan.decide(draft(), known, "enlarger").reason
