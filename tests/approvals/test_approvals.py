"""An approved plan is bought exactly, up to its amount and once; anything else is refused with its cause."""

import json
import os
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runner import jobs, planfile, project
from runner.diagnostics import ApprovalRefused
from runner.ledger import verify
from runner.ledger.database import open_database
from runner.ledger.ledger import Ledger
from runner.ledger.values import Approved
from runner.settings import ledger_path
from runner.trail import approval
from tests.approvals.conftest import House
from tests.fuzz.targets import SIGNED
from tests.ledger.conftest import RUN
from tests.run.conftest import Ended, kill, wait_until
from tests.run.test_trouble import ROOT, mounted


def codes(ended: Ended) -> list[str]:
    return re.findall(r"^error\[([\w-]+)\]", ended.err, re.MULTILINE)


def sound(house: House) -> None:
    with open_database(house.studio.root / ".omixa" / "ledger.db", create=False) as database:
        assert verify.verify(database).faults == []
    house.studio.balances()


def test_an_approved_plan_is_bought_exactly_and_once(house: House) -> None:
    house.plan()
    assert house.approve().code == 0
    # What came after the plan was made is not in it.
    house.studio.picture("pictures/later.png")
    ended = house.run_plan("--json")
    assert ended.code == 0, ended
    assert house.requests == 3
    assert house.studio.outputs() == ["000.png", "001.png", "002.png"]
    assert {(row.author, row.approver) for row in house.studio.rows()} == {("ana <ana@studio.example>", "ben")}
    again = house.run_plan()
    assert (again.code, codes(again)) == (9, ["approval-used"])
    assert house.requests == 3
    sound(house)


def test_reports_tell_who_wrote_and_who_approved(house: House) -> None:
    house.plan()
    house.approve()
    assert house.run_plan().code == 0
    house.studio.picture("pictures/later.png")
    assert house.omixa("run", "posters", "--yes").code == 0
    found = json.loads(house.omixa("report", "--by", "author,approver", "--format", "json").out)
    groups = [(one["author"], one["approver"], one["settled"]) for one in found["rows"]]
    author = "ana <ana@studio.example>"
    assert groups == [(author, "ben", "0.117000"), (author, None, "0.039000")]


def touch(house: House) -> None:
    house.studio.picture("pictures/001.png", seed=9)


def remove(house: House) -> None:
    (house.studio.root / "pictures" / "001.png").unlink()


def raise_price(house: House) -> None:
    house.settings(ceiling="0.71")


def lower_budget(house: House) -> None:
    house.settings(month="49.00")


def edit_recipe(house: House) -> None:
    path = house.studio.root / "recipes" / "posters.toml"
    path.write_text(path.read_text() + "# as approved\n")


def edit_prompt(house: House) -> None:
    house.studio.recipe(text="Restore it!")


def break_recipe(house: House) -> None:
    (house.studio.root / "recipes" / "posters.toml").write_text("nonsense =")


def remove_recipe(house: House) -> None:
    (house.studio.root / "recipes" / "posters.toml").unlink()


def unlist(house: House) -> None:
    house.listed = ["eve"]
    house.settings()


def change_approval(**changes: str) -> Callable[[House], None]:
    def change(house: House) -> None:
        found = json.loads(house.approval().read_text())
        house.approval().write_text(json.dumps(found | changes))

    return change


def break_signature(house: House) -> None:
    found = json.loads(house.approval().read_text())
    first = found["signature"][0]
    found["signature"] = ("B" if first == "A" else "A") + found["signature"][1:]
    house.approval().write_text(json.dumps(found))


def spend_more(house: House) -> None:
    """The plan itself, made to buy one more time by who ran out of approvals."""
    found = json.loads(house.plan_file.read_text())
    found["made_at"] = "2026-01-01T00:00:00.000000Z"
    house.plan_file.write_text(json.dumps(found))


def expire(house: House) -> None:
    key, _ = approval.load_key(house.key("ben"))
    _, digest = planfile.read(house.plan_file.read_text())
    now = datetime.now(UTC)
    signed = approval.sign(
        key,
        plan=digest,
        amount_micros=12_000_000,
        currency="USD",
        approver="ben",
        at=now - timedelta(hours=2),
        until=now - timedelta(seconds=1),
    )
    house.approval().write_text(json.dumps(signed.record()))


def lower_limit(house: House) -> None:
    house.more["ben"] = 'max = "11.999999"'
    house.settings()


def move_endpoint(house: House) -> None:
    house.settings(url="http://127.0.0.1:1/elsewhere")


def other_ledger(house: House) -> None:
    for path in (house.studio.root / ".omixa").glob("ledger.db*"):
        path.unlink()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (touch, ["picture-touched"]),
        (remove, ["picture-gone"]),
        (raise_price, ["price-raised", "price-raised"]),
        (lower_budget, ["budget-lowered"]),
        (edit_recipe, ["recipe-edited"]),
        (edit_prompt, ["recipe-edited", "prompt-changed"]),
        (break_recipe, ["recipe-edited", "toml-syntax"]),
        (remove_recipe, ["recipe-gone"]),
        (expire, ["approval-expired"]),
        (unlist, ["unlisted-key"]),
        (break_signature, ["signature-altered"]),
        (change_approval(max="13.000000"), ["signature-altered"]),
        (change_approval(expires_at="2099-01-01T00:00:00.000000Z"), ["signature-altered"]),
        (change_approval(max="nan"), ["approval-unreadable"]),
        (change_approval(more="x"), ["approval-unreadable"]),
        (spend_more, ["plan-changed"]),
        (lower_limit, ["above-approver"]),
        (move_endpoint, ["other-workspace"]),
        (other_ledger, ["other-ledger"]),
        (lambda house: house.approval().unlink(), ["approvals-missing"]),
    ],
)
def test_what_is_not_as_it_was_approved_is_refused_with_its_cause(
    house: House, change: Callable[[House], None], expected: list[str]
) -> None:
    house.plan()
    assert house.approve().code == 0
    change(house)
    ended = house.run_plan()
    assert (ended.code, codes(ended)) == (9, expected), ended
    assert house.requests == 0


def test_every_cause_is_told_at_once(house: House) -> None:
    house.plan()
    for change in (touch, lower_budget, edit_recipe, expire):
        change(house)
    ended = house.run_plan()
    assert ended.code == 9
    assert codes(ended) == ["budget-lowered", "recipe-edited", "picture-touched", "approval-expired"]


def test_a_cheaper_price_and_a_higher_budget_keep_nobody_from_buying(house: House) -> None:
    house.plan()
    house.approve()
    house.settings(ceiling="0.69", month="51.00")
    assert house.run_plan().code == 0
    assert house.requests == 3


@pytest.mark.parametrize(("amount", "bought"), [("0.777999", 2), ("0.778", 3)])
def test_the_amount_is_never_passed_and_filled_exactly(house: House, amount: str, bought: int) -> None:
    # Two at 0.039 are billed, and the third needs its whole ceiling of 0.70 free.
    house.plan()
    assert house.approve("ben", amount).code == 0
    ended = house.run_plan()
    assert (ended.code, house.requests) == (0 if bought == 3 else 3, bought), ended
    if bought < 3:
        assert "budget this approval has 0.699999 USD left" in ended.out
        assert "`omixa approve` approves the same plan up to a higher amount" in ended.out
    sound(house)


def test_an_amount_that_buys_nothing_is_told_when_the_plan_is_made_and_when_it_is_approved(house: House) -> None:
    frozen = house.omixa("plan", "posters", "--out", str(house.plan_file))
    assert "--max AMOUNT`, at least 0.700 USD: one picture may cost that\n" in frozen.err
    told = "note: nothing can be bought with that: one picture may cost 0.700 USD; approve as much or more\n"
    words = ("approve", str(house.plan_file), "--key", str(house.key("ben")), "--yes", "--max")
    assert told in house.omixa(*words, "0.699999").err
    enough_for_one = house.omixa(*words, "0.70").err
    assert "note: that is less than the plan may cost" in enough_for_one
    assert "nothing can be bought" not in enough_for_one
    assert "note:" not in house.omixa(*words, "2.10").err


def test_a_run_that_was_killed_goes_on_within_the_same_amount(house: House) -> None:
    house.studio.pictures(12)
    house.settings(concurrency=1)
    house.plan()
    house.approve("ben", "1.60")
    process = house.studio.start("run", "--plan", str(house.plan_file))
    wait_until(lambda: house.requests >= 3, process)
    kill(process)
    ended = house.run_plan()
    rows = house.studio.rows()
    assert house.studio.settled + house.studio.open <= 1_600_000
    # What was in flight when it died may be unknown, and then holds its whole 0.70: six are bought beside it.
    expected = (6, (3, 6)) if house.studio.open else (12, (0,))
    assert house.studio.settled == expected[0] * 39_000, ended
    assert ended.code in expected[1]
    assert len({row.run_uid for row in rows}) == 2
    assert len({row.source_path for row in rows if row.state == "settled"}) == house.studio.states()["settled"]
    sound(house)


def test_of_two_runs_at_once_one_buys(house: House) -> None:
    house.studio.pictures(8)
    house.plan()
    house.approve()
    processes = [house.studio.start("run", "--plan", str(house.plan_file)) for _ in range(2)]
    ended = [Ended(process.wait(), *process.communicate()) for process in processes]
    assert sorted(one.code for one in ended) == [0, 9], ended
    refused = next(one for one in ended if one.code == 9)
    assert codes(refused) in (["approval-in-use"], ["approval-used"])
    assert house.requests == 8
    assert len({row.run_uid for row in house.studio.rows()}) == 1
    sound(house)


def test_so_many_must_approve_as_the_policy_says_and_the_least_amount_holds(house: House) -> None:
    house.policy, house.listed = "[policy]\napprovals = 2", ["ben", "eve"]
    house.settings()
    house.plan()
    house.approve("ben", "12.00")
    ended = house.run_plan()
    assert (ended.code, codes(ended)) == (9, ["approvals-missing"])
    # The same person twice is one person.
    house.approval("ben").with_name("plan.approval-eve.json").write_text(house.approval("ben").read_text())
    assert codes(house.run_plan()) == ["approvals-missing"]
    house.approve("eve", "0.70")
    ended = house.run_plan()
    assert (ended.code, house.requests) == (3, 1), ended
    assert {row.approver for row in house.studio.rows()} == {"ben, eve"}


def test_who_wrote_the_recipe_or_made_the_plan_does_not_count(house: House) -> None:
    house.policy = "[policy]\nnot_author = true"
    house.settings()
    house.commit("ben")
    house.plan()
    edit_recipe(house)
    house.commit("ben")
    house.plan()
    refused = house.approve("ben")
    assert (refused.code, codes(refused)) == (9, ["approver-is-author"])
    assert not house.approval().exists()
    house.git("config", "user.email", "ben@studio.example")
    edit_recipe(house)
    house.commit("ana")
    house.plan()
    assert codes(house.approve("ben")) == ["approver-made-plan"]
    house.git("config", "user.email", "cleo@studio.example")
    house.plan()
    assert house.approve("ben").code == 0
    assert house.run_plan().code == 0


def test_an_author_who_is_not_known_is_not_taken_for_somebody_else(house: House) -> None:
    house.policy = "[policy]\nnot_author = true"
    house.settings()
    edit_recipe(house)
    house.plan()
    assert codes(house.approve("ben")) == ["author-unknown"]


def test_what_costs_more_than_the_policy_allows_is_not_run_without_approval(house: House) -> None:
    house.policy = '[policy]\napproval_over = "2.09"'
    house.settings()
    ended = house.omixa("run", "posters", "--yes")
    assert (ended.code, codes(ended), house.requests) == (9, ["approval-needed"], 0), ended
    # Exactly so much needs none.
    house.policy = '[policy]\napproval_over = "2.10"'
    house.settings()
    assert house.omixa("run", "posters", "--yes").code == 0


def test_recipes_are_not_split_to_stay_below_the_limit(house: House) -> None:
    house.policy = '[policy]\napproval_over = "2.50"'
    house.studio.recipe("scans", folder="scans", output="out2", text="Scan.")
    house.studio.pictures(2, "scans")
    house.settings()
    ended = house.omixa("run", "posters", "scans", "--yes")
    assert (ended.code, codes(ended), house.requests) == (9, ["approval-needed"], 0)


def test_a_plan_of_several_recipes_is_one_approval(house: House) -> None:
    house.studio.recipe("scans", folder="scans", output="out2", text="Scan.")
    house.studio.pictures(2, "scans")
    house.plan("posters", "scans")
    house.approve("ben", "0.85")
    ended = house.run_plan()
    # 3 × 0.039 are billed, so one more of at most 0.70 fits, and then none.
    assert (ended.code, house.requests) == (3, 4), ended
    sound(house)


def test_an_approval_is_not_taken_back_by_a_clock_that_was_set_back(house: House) -> None:
    house.plan()
    house.approve("ben", "12.00", "--expires", "1m")
    now = datetime.now(UTC)
    with open_database(house.studio.root / ".omixa" / "ledger.db", create=False) as database:
        ledger = Ledger(database)
        ledger.begin_run(RUN, at=now + timedelta(minutes=2))
        given = Approved("0" * 64, "studio", 1, now + timedelta(minutes=1), "ben", "[]", "cleo", now)
        with pytest.raises(ApprovalRefused, match="has expired"):
            ledger.begin_run(RUN, at=now, approved=given)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"schema": "omixa.plan-file/1"}', '{"a": 1, "a": 2}', '{"a": 1.5}', "[" * 100_000, "\x00"],
)
def test_a_file_that_is_no_plan_is_told_so(house: House, text: str) -> None:
    house.plan_file.parent.mkdir()
    house.plan_file.write_text(text)
    for ended in (house.run_plan(), house.approve()):
        assert ended.code == 2, ended
        assert "is no plan that could be bought" in ended.err


def test_nothing_in_a_plan_or_an_approval_is_secret(house: House) -> None:
    house.plan()
    house.approve()
    told = house.plan_file.read_text() + house.approval().read_text()
    assert "Restore it." not in told
    assert house.key("ben").read_text().splitlines()[1] not in told
    assert house.key("ben").stat().st_mode & 0o777 == 0o600


def test_a_key_is_never_written_over_and_one_that_is_not_listed_signs_nothing(house: House) -> None:
    before = house.key("ben").read_bytes()
    ended = house.omixa("approve", "--new-key", "--key", str(house.key("ben")))
    assert ended.code == 2
    assert house.key("ben").read_bytes() == before
    house.plan()
    assert house.approve("eve").code == 2
    assert not house.approval("eve").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("approve", "plan.json"),
        ("approve", "plan.json", "--max", "0"),
        ("approve", "plan.json", "--max", "1e3"),
        ("approve", "plan.json", "--max", "1.00", "--expires", "soon"),
        ("approve", "--new-key", "--max", "1"),
        ("approve",),
        ("run",),
        ("run", "posters", "--plan", "plan.json"),
        ("run", "--plan", "plan.json", "--limit", "2"),
        ("run", "posters", "--approval", "x"),
    ],
)
def test_words_that_make_no_sense_are_told(house: House, words: tuple[str, ...]) -> None:
    ended = house.omixa(*words)
    assert ended.code == 2, ended
    assert ended.err.startswith("error: ")


def test_threads_that_claim_at_once_get_one_run(house: House, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    given = Approved("0" * 64, "studio", 1, now + timedelta(hours=1), "ben", "[]", "cleo", now)
    won: list[int] = []
    with open_database(tmp_path / "race.db", create=True) as database:
        ledger = Ledger(database)

        def claim(number: int) -> None:
            run = replace(RUN, uid=f"run-{number}", approver="ben", approval=given.plan)
            try:
                won.append(ledger.begin_run(run, at=now, approved=given))
            except ApprovalRefused:
                return

        threads = [threading.Thread(target=claim, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(won) == 1


def test_a_newer_picture_with_the_same_content_takes_nothing_from_the_plan(house: House) -> None:
    house.plan()
    house.approve()
    # It would come first, and the approved one would wait for it.
    copy = house.studio.root / "pictures" / "00.png"
    copy.write_bytes((house.studio.root / "pictures" / "000.png").read_bytes())
    assert house.run_plan().code == 0
    assert (house.requests, house.studio.outputs()) == (3, ["000.png", "001.png", "002.png"])


def test_what_the_frozen_plan_does_not_buy_is_not_bought(house: House) -> None:
    house.plan("posters", "--limit", "2")
    frozen, _ = planfile.read(house.plan_file.read_text())
    settings, recipes = project.load(house.studio.root, ["posters"])
    with open_database(ledger_path(settings), create=False) as database:
        made = jobs.make_plan(
            recipes[0], settings, database, jobs.results(settings), at=datetime.now(UTC), wishes=jobs.Wishes()
        )
    assert [item.action for item in made.items] == ["buy", "buy", "buy"]
    assert [item.action for item in planfile.only(frozen.recipes[0], made).items] == ["buy", "buy", "later"]


def test_a_plan_that_buys_again_on_purpose_does_so_once(house: House) -> None:
    house.plan()
    house.approve()
    assert house.run_plan().code == 0
    house.plan("posters", "--reroll")
    house.approve()
    assert house.run_plan().code == 0
    assert house.requests == 6
    assert codes(house.run_plan()) == ["approval-used"]
    assert house.requests == 6


def test_a_plan_that_buys_again_is_not_gone_on_with(house: House) -> None:
    house.plan("posters", "--reroll")
    house.approve("ben", "0.70")
    assert (house.run_plan().code, house.requests) == (3, 1)
    house.approve("ben", "5.00")
    assert codes(house.run_plan()) == ["approval-used"]
    assert house.requests == 1


def test_a_plan_whose_amount_was_used_up_goes_on_with_a_higher_one(house: House) -> None:
    house.plan()
    house.approve("ben", "0.70")
    ended = house.run_plan()
    assert (ended.code, house.requests) == (3, 1)
    assert "left: 2 pictures; the same `omixa run --plan` goes on with what is left" in ended.out
    house.approve("ben", "0.778")
    assert (house.run_plan().code, house.requests) == (0, 3)
    sound(house)


def test_what_a_plan_says_obeys_no_terminal(house: House) -> None:
    found = house.plan()
    found["made_by"]["who"] = found["workspace"]["currency"] = found["recipes"][0]["items"][0]["output"] = (
        "\x1b[2J\u202e"
    )
    found["recipes"][0]["author"] = "\x1b]0;x\x07"
    house.plan_file.write_text(json.dumps(found))
    ended = house.approve()
    assert ended.code == 0
    assert not set("\x1b\x07\u202e") & set(ended.out + ended.err)
    house.plan_file.write_text(json.dumps(found | {"\x1b[2J": 1}))
    ended = house.approve()
    assert ended.code == 2
    assert "\x1b" not in ended.err


def test_what_is_no_file_is_written_and_never_replaced(house: House, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with os.fdopen(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)) as read:
        assert house.omixa("plan", "posters", "--out", str(pipe)).code == 0
        assert json.loads(read.read())["schema"] == "omixa.plan-file/1"
    assert pipe.is_fifo()


@pytest.mark.skipif(not ROOT, reason="mounting needs root")
def test_a_full_disk_leaves_the_older_approval(house: House) -> None:
    folder = house.plan_file.parent
    with mounted(folder, "size=64k"):
        house.plan()
        assert house.approve().code == 0
        before = house.approval().read_bytes()
        with suppress(OSError), (folder / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(1024))
        ended = house.approve("ben", "13.00")
        assert ended.code == 7, ended
        assert "cannot be written" in ended.err
        assert house.approval().read_bytes() == before
        assert sorted(path.name for path in folder.iterdir()) == ["filler", "plan.approval-ben.json", "plan.json"]


def test_what_is_not_committed_is_refused_before_any_recipe_of_the_plan_buys(house: House) -> None:
    house.policy = "[policy]\nrequire_clean = true"
    house.studio.recipe("scans", folder="scans", output="out2")
    house.studio.pictures(1, "scans")
    path = house.studio.root / "recipes" / "scans.toml"
    path.write_text(path.read_text().replace('text = "Restore it."', 'file = "scan.txt"'))
    (house.studio.root / "scan.txt").write_text("Scan.")
    house.settings()
    house.commit("ana")
    house.plan("posters", "scans")
    assert house.approve().code == 0
    ended = house.run_plan()
    assert (ended.code, codes(ended), house.requests) == (2, ["policy-uncommitted"], 0), ended
    house.git("add", "scan.txt")
    house.commit("ana")
    assert (house.run_plan().code, house.requests) == (0, 4)


DRAW = """
model = "draw"
operation = "prompt-to-image"
title = "Draw"
summary = "Draws."
source = "its page"
fields = [
    { field = "prompt", type = "string", required = true, accepted = "1-99 characters", description = "What." },
    { field = "output_format", type = "string", required = false, accepted = ["png"], description = "Format." },
    { field = "seed", type = "integer", required = false, accepted = "0-9", default = 1, description = "Repeats." },
]
"""
IDEAS = """
workspace = "studio"
model = "draw"
[prompts.harbour]
text = "A harbour."
[output]
folder = "out"
"""


def test_a_plan_of_words_alone_is_bought_by_the_contract_it_was_approved_with(house: House) -> None:
    contract = house.studio.root / "contracts" / "draw.toml"
    contract.parent.mkdir()
    contract.write_text(DRAW)
    (house.studio.root / "recipes" / "posters.toml").write_text(IDEAS)
    settings = house.studio.root / "omixa.toml"
    settings.write_text(settings.read_text().replace("stability-upscale-creative", "draw"))
    house.git("add", "contracts")
    house.commit("ana")
    assert house.plan()["dirty"] is False
    contract.write_text(DRAW.replace("Draws.", "Draws pictures."))
    assert house.plan()["dirty"] is True
    assert "–       out/harbour.png" in house.approve().err
    contract.write_text(DRAW.replace("default = 1", "default = 2"))
    ended = house.run_plan()
    assert (ended.code, codes(ended), house.requests) == (9, ["item-changed"], 0), ended
    assert "another request than in the plan: `out/harbour.png`" in ended.err


def test_a_moment_is_written_as_it_was_read_whatever_its_year() -> None:
    told = {**SIGNED[0], "expires_at": "0026-11-22T12:00:00.000000Z"}
    assert approval.read(json.dumps(told)).record() == told
