"""`omixa run` end to end: real pictures over real HTTP, from a recipe to a booked bill."""

import json
import shutil
from collections.abc import Callable

import pytest

from tests.run.conftest import Studio


def test_a_recipe_is_bought_once_and_then_nothing_is_sent(studio: Studio) -> None:
    studio.pictures(5)
    first = studio.run()
    assert first.code == 0, first
    assert "bought 5 pictures for 0.195 USD" in first.out
    assert studio.outputs() == [f"{n:03}.png" for n in range(5)]
    assert (studio.endpoint.counts().requests, studio.settled) == (5, 195_000)
    second = studio.run()
    assert second.code == 0, second
    assert studio.endpoint.counts().requests == 5
    studio.balances()


def test_ten_files_of_which_four_are_identical_in_two_recipes_cost_seven(studio: Studio) -> None:
    for n in range(6):
        studio.picture(f"pictures/{n}.png", seed=n)
    for name in ("again", "copy", "sub/twin"):
        studio.picture(f"pictures/{name}.png", seed=0)
    studio.picture("other/renamed.png", seed=0)
    studio.picture("other/own.png", seed=6)
    studio.recipe("second", folder="other", output="out2")
    ended = studio.omixa("run", "posters", "second", "--yes")
    assert ended.code == 0, ended
    assert studio.endpoint.counts().requests == 7
    assert len(studio.outputs()) == 9
    assert len(studio.outputs("out2")) == 2
    again = studio.omixa("run", "posters", "second", "--yes")
    assert again.code == 0
    assert studio.endpoint.counts().requests == 7


def test_a_deleted_output_comes_back_without_paying(studio: Studio) -> None:
    studio.pictures(2)
    studio.run()
    before = (studio.root / "out" / "000.png").read_bytes()
    (studio.root / "out" / "000.png").unlink()
    (studio.root / "pictures" / "001.png").rename(studio.root / "pictures" / "renamed.png")
    ended = studio.run()
    assert "restored 2 without paying" in ended.out, ended
    assert (studio.root / "out" / "000.png").read_bytes() == before
    assert studio.outputs() == ["000.png", "001.png", "renamed.png"]
    assert studio.endpoint.counts().requests == 2


def test_a_retouched_output_is_left_alone(studio: Studio) -> None:
    studio.pictures(1)
    studio.run()
    (studio.root / "out" / "000.png").write_bytes(b"retouched by hand")
    assert studio.run().code == 0
    assert (studio.root / "out" / "000.png").read_bytes() == b"retouched by hand"


def test_a_file_that_omixa_did_not_write_is_never_overwritten_or_paid_for(studio: Studio) -> None:
    studio.pictures(1)
    (studio.root / "out").mkdir()
    (studio.root / "out" / "000.png").write_bytes(b"somebody's own")
    ended = studio.run()
    assert ended.code == 1, ended
    assert "a file that omixa did not write" in ended.out
    assert (studio.root / "out" / "000.png").read_bytes() == b"somebody's own"
    assert studio.endpoint.counts().requests == 0


def test_changing_the_prompt_buys_anew_and_changing_it_back_does_not(studio: Studio) -> None:
    studio.pictures(1)
    studio.run()
    first = (studio.root / "out" / "000.png").read_bytes()
    studio.recipe(text="Another way.")
    plan = studio.omixa("plan", "posters")
    assert "prompt changed" in plan.out, plan
    studio.run()
    assert studio.endpoint.counts().requests == 2
    studio.recipe()
    assert studio.run().code == 0
    assert studio.endpoint.counts().requests == 2
    assert (studio.root / "out" / "000.png").read_bytes() == first


def test_limit_buys_so_many_and_the_next_run_goes_on(studio: Studio) -> None:
    studio.pictures(3)
    studio.run("--limit", "2")
    assert studio.endpoint.counts().requests == 2
    studio.run()
    assert studio.endpoint.counts().requests == 3


def test_reroll_buys_again_on_purpose_and_replaces_the_output(studio: Studio) -> None:
    studio.pictures(1)
    studio.run()
    assert studio.run("--reroll").code == 0
    assert studio.endpoint.counts().requests == 2
    assert studio.settled == 78_000


def test_without_a_terminal_real_money_needs_yes(studio: Studio) -> None:
    studio.pictures(1)
    ended = studio.omixa("run", "posters")
    assert ended.code == 2
    assert "add --yes" in ended.err
    assert studio.endpoint.counts().requests == 0


def test_json_is_one_object_and_nothing_else_on_stdout(studio: Studio) -> None:
    studio.pictures(2)
    ended = studio.run("--json")
    told = json.loads(ended.out)
    assert told["schema"] == "omixa.run/1"
    assert told["runs"][0]["billed"] == "0.078000"
    assert ended.err == ""


def test_outputs_are_never_picked_up_as_sources(studio: Studio) -> None:
    studio.recipe(output="pictures/enlarged")
    studio.pictures(2)
    studio.run()
    assert studio.run().code == 0
    assert studio.endpoint.counts().requests == 2


# ---- caps


@pytest.mark.parametrize("ceiling", ["0.039", "0.05"])
def test_a_cap_of_one_buys_exactly_25_whatever_the_number_of_processes(studio: Studio, ceiling: str) -> None:
    studio.settings(month="1.00", ceiling=ceiling)
    for process in range(4):
        studio.recipe(f"posters-{process}", folder=f"shelf/{process}", output=f"out/{process}")
        studio.pictures(12, folder=f"shelf/{process}")
    running = [studio.start("run", f"posters-{n}", "--yes") for n in range(4)]
    outputs = [process.communicate(timeout=120) for process in running]
    assert studio.endpoint.counts().pictures == 25, outputs
    assert (studio.settled, studio.open) == (975_000, 0)
    assert sorted({process.returncode for process in running}) in ([3], [0, 3])
    studio.balances()


def test_a_refusal_says_which_budget_and_what_is_left_and_lists_the_rest(studio: Studio) -> None:
    studio.settings(month="0.10", ceiling="0.039", concurrency=1)
    studio.pictures(4)
    ended = studio.run()
    assert ended.code == 3, ended
    assert "budget month 20" in ended.out
    assert "of workspace studio has 0.022 USD left until 1 " in ended.out
    assert "this request may cost 0.039 USD" in ended.out
    assert "= help: see `omixa budget`; `omixa grant` raises a window of the workspace for a while" in ended.out
    assert "left: 2 pictures" in ended.out
    studio.settings(month="0.20", ceiling="0.039")
    assert studio.run().code == 0
    assert studio.endpoint.counts().requests == 4


def test_what_was_paid_for_comes_back_although_a_cap_refuses_what_stands_before_it(studio: Studio) -> None:
    studio.settings(month="0.08", ceiling="0.039", concurrency=1)
    studio.pictures(2)
    assert studio.run().code == 0
    # First in their order is one that does not fit any more, then two whose pictures somebody has removed.
    studio.picture("pictures/000-new.png")
    (studio.root / "pictures" / "000.png").rename(studio.root / "pictures" / "000-old.png")
    (studio.root / "out" / "000.png").unlink()
    (studio.root / "out" / "001.png").unlink()
    ended = studio.run()
    assert ended.code == 3, ended
    assert "restored 2 without paying" in ended.out
    assert "left: 1 picture;" in ended.out
    assert studio.outputs() == ["000-old.png", "001.png"]
    assert studio.endpoint.counts().requests == 2


def test_a_recipe_may_have_its_own_caps_for_a_run_and_for_a_month(studio: Studio) -> None:
    studio.settings(ceiling="0.039")
    studio.recipe(more='[budget]\nrun = "0.08"\nmonth = "0.12"')
    studio.pictures(6)
    first = studio.run()
    assert (first.code, studio.endpoint.counts().requests) == (3, 2), first
    assert "budget this run has" in first.out
    raised = (
        "= help: see `omixa budget`; it is raised in the recipe's `[budget]`: a grant is for budgets of the workspace"
    )
    assert raised in first.out
    second = studio.run()
    assert (second.code, studio.endpoint.counts().requests) == (3, 3), second
    assert "of recipe posters has" in second.out
    assert raised in second.out


def test_nobody_knows_the_price_so_nothing_is_sent(studio: Studio) -> None:
    text = (studio.root / "omixa.toml").read_text()
    (studio.root / "omixa.toml").write_text("\n".join(line for line in text.splitlines() if "ceilings" not in line))
    studio.pictures(1)
    ended = studio.run()
    assert ended.code == 2, ended
    assert 'ceilings = { "stability-upscale-creative" = "0.70" }' in ended.err


# ---- what the endpoint may do


def one(open_studio: Callable[..., Studio], *faults: str, pictures: int = 1) -> Studio:
    studio = open_studio(faults=faults)
    studio.recipe()
    studio.pictures(pictures)
    return studio


def test_an_answer_that_never_came_is_held_and_never_sent_again(open_studio: Callable[..., Studio]) -> None:
    studio = one(open_studio, "close_after_read,first=1")
    ended = studio.run()
    assert ended.code == 6, ended
    assert "may have been billed and is not sent again: omixa resolve 1" in ended.err
    assert (studio.settled, studio.open) == (0, 700_000)
    again = studio.run()
    assert studio.endpoint.counts().requests == 1, again
    assert "held back" in again.out
    resolved = studio.omixa("resolve", "1", "--not-billed", "--note", "not on the invoice")
    assert resolved.code == 0, resolved
    assert studio.run().code == 0
    assert (studio.endpoint.counts().requests, studio.settled, studio.open) == (2, 39_000, 0)
    studio.balances()


def test_a_picture_without_a_price_is_delivered_and_its_whole_reservation_held(
    open_studio: Callable[..., Studio],
) -> None:
    studio = one(open_studio, "usage=missing")
    ended = studio.run()
    assert ended.code == 6, ended
    assert studio.outputs() == ["000.png"]
    assert studio.states() == {"unknown": 1}
    assert studio.open == 700_000


def test_a_bill_without_a_picture_is_booked_and_the_raw_answer_kept(open_studio: Callable[..., Studio]) -> None:
    studio = one(open_studio, "picture=broken,first=1")
    ended = studio.run()
    assert (ended.code, studio.settled) == (1, 39_000), ended
    assert "billed, but no usable picture" in ended.out
    assert list((studio.root / ".omixa" / "raw").iterdir())
    again = studio.run()
    assert (again.code, studio.endpoint.counts().requests) == (1, 1), again
    assert "--reroll buys it again" in again.out
    assert studio.run("--reroll").code == 0
    assert studio.outputs() == ["000.png"]


def test_a_bill_above_the_reservation_is_booked_and_stops_the_workspace(open_studio: Callable[..., Studio]) -> None:
    studio = one(open_studio, "bill=40.5,first=1", pictures=6)
    studio.settings(concurrency=1)
    ended = studio.run()
    assert ended.code == 3, ended
    assert "was billed 40.500 USD, above its reservation of 0.700 USD" in ended.out
    assert (studio.endpoint.counts().requests, studio.settled) == (1, 40_500_000)
    assert "is stopped" in studio.run().out
    assert studio.endpoint.counts().requests == 1
    resumed = studio.omixa("resume", "--workspace", "studio", "--note", "asked the provider")
    assert resumed.code == 0, resumed
    refused = studio.run()
    assert "this request may cost 40.500 USD" in refused.out, refused
    studio.balances()


@pytest.mark.parametrize(("fault", "words"), [("unpaid", "402"), ("status=401", "401")])
def test_an_empty_account_or_a_refused_key_stops_the_whole_run(
    open_studio: Callable[..., Studio], fault: str, words: str
) -> None:
    studio = one(open_studio, fault, pictures=8)
    studio.settings(concurrency=1)
    ended = studio.run()
    assert ended.code == 4, ended
    assert studio.endpoint.counts().requests == 1
    assert studio.states() == {"released": 1}
    assert "left: 7" in ended.out


def test_a_wrong_key_is_told_without_showing_it(studio: Studio) -> None:
    studio.pictures(3)
    wrong = "omx_live_wrong-key-987654321"
    ended = studio.omixa("run", "posters", "--yes", key=wrong)
    assert ended.code == 4, ended
    assert wrong not in ended.out + ended.err
    for file in studio.root.rglob("*"):
        if file.is_file():
            assert wrong.encode() not in file.read_bytes(), file


def test_a_missing_key_names_its_variable(studio: Studio) -> None:
    studio.pictures(1)
    ended = studio.omixa("run", "posters", "--yes", key=None)
    assert ended.code == 2
    assert "STUDIO_KEY" in ended.err
    assert not studio.rows()


def test_a_moderated_picture_is_not_asked_for_again(open_studio: Callable[..., Studio]) -> None:
    studio = one(open_studio, "moderated")
    assert studio.run().code == 1
    again = studio.run()
    assert "would be declined again" in again.out, again
    assert studio.endpoint.counts().requests == 1
    assert studio.open == 0


def test_what_is_certainly_not_billed_is_sent_again_when_the_provider_says_so(
    open_studio: Callable[..., Studio],
) -> None:
    studio = one(open_studio, "status=429,retry_after=1,first=2")
    ended = studio.run()
    assert ended.code == 0, ended
    assert studio.states() == {"released": 2, "settled": 1}
    studio.balances()


def test_a_server_error_may_have_been_billed(open_studio: Callable[..., Studio]) -> None:
    studio = one(open_studio, "status=500")
    assert studio.run().code == 6
    assert studio.states() == {"unknown": 1}


def test_an_endpoint_that_is_down_stops_the_run_and_nothing_is_held(studio: Studio) -> None:
    studio.pictures(3)
    studio.endpoint.stop()
    studio.settings(url="http://127.0.0.1:9/api/v1", concurrency=1)
    ended = studio.run()
    assert ended.code == 4, ended
    assert "nothing was billed" in ended.out
    assert studio.open == 0
    assert "left: 2 pictures" in ended.out


def test_a_blurred_picture_is_flagged(open_studio: Callable[..., Studio]) -> None:
    studio = one(open_studio)
    shutil.rmtree(studio.root / "pictures")
    studio.endpoint.stop()
    from runner import sandbox
    from tests.run.conftest import KEY

    blurring = sandbox.start(sandbox.SandboxOptions(faults=(sandbox.parse_fault("picture=blurred"),), key=KEY))
    try:
        studio.settings(url=blurring.url)
        studio.picture("pictures/000.png", size=128)
        ended = studio.run()
    finally:
        blurring.stop()
    assert "blurred" in ended.out, ended
