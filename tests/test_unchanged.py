"""Folders that have not changed are not looked into again, and whatever changes the answer has them looked into."""

import json
import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from benchmarks.plan import png
from runner import jobs
from runner.cli import main
from runner.diagnostics import Problems
from runner.images import seen as seen_module
from runner.images.seen import FILE_NAME, Seen
from runner.images.unchanged import Moved, Position
from runner.ledger.database import Database
from runner.ledger.ledger import Ledger
from runner.ledger.values import Asked, Reserved
from runner.plan import Plan, digest
from runner.project import load
from tests.ledger.conftest import RUN, SEEN
from tests.planned import NOON, World, told

PICTURES, FOLDER = 30, 10


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Thirty pictures in three folders, all paid for and in place, of which that is remembered."""
    monkeypatch.setattr(jobs, "LISTED_MAX", 0)
    made = World(tmp_path / "world", monkeypatch, pictures=PICTURES, a_folder=FOLDER)
    assert made.plan().items.unlisted == 0
    return made


def actions(made: Plan) -> dict[str, int]:
    return dict(sorted(made.items.actions.items()))


def looked(world: World) -> Plan:
    """The plan, which is what a plan that looks into everything says, too."""
    made = world.plan()
    assert actions(made) == actions(world.plan(verify=True, listed=True, keep=False))
    return made


def test_what_has_not_changed_is_counted_and_not_looked_into(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.jobs.Drafting.of", lambda *_: pytest.fail("a picture is looked at"))
    made = world.plan()
    assert (made.items.unlisted, actions(made), len(made.items)) == (PICTURES, {"skip": PICTURES}, 0)
    assert sorted(set(made.items.folders)) == [str(world.root / f"out/{number:04d}") for number in range(3)]


def rewritten(world: World) -> None:
    """Another picture of the same size, with its old moment of writing."""
    path = world.source(3)
    before = path.stat()
    path.write_bytes(png(123_456))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def foreign(world: World) -> None:
    """A file of the same size where a result stood."""
    path = world.output(3)
    size = path.stat().st_size
    path.unlink()
    path.write_bytes(b"x" * size)


def sidecar(world: World) -> None:
    world.source(3).with_name(world.source(3).name + ".prompt.txt").write_text("Another prompt.")


def linked(world: World) -> None:
    path = world.source(3)
    path.rename(world.root / "elsewhere.png")
    path.symlink_to(world.root / "elsewhere.png")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda world: os.utime(world.source(3)), {"skip": 30}),
        (lambda world: world.source(3).chmod(0o640), {"skip": 30}),
        (rewritten, {"buy": 1, "skip": 29}),
        (lambda world: world.source(3).unlink(), {"skip": 29}),
        (linked, {"skip": 29}),
        (lambda world: world.source(3).rename(world.source(3).with_name("new.png")), {"hold": 1, "skip": 29}),
        (lambda world: world.source(3).with_name("more.png").write_bytes(png(77_777)), {"buy": 1, "skip": 30}),
        (lambda world: world.source(3).write_bytes(b"no picture"), {"skip": 29, "unsuitable": 1}),
        (sidecar, {"buy": 1, "skip": 29}),
        (lambda world: os.utime(world.output(3)), {"skip": 30}),
        (lambda world: world.output(3).unlink(), {"hold": 1, "skip": 29}),
        (foreign, {"skip": 30}),
    ],
)
def test_a_folder_in_which_anything_changed_is_looked_into(
    change: Callable[[World], object], found: dict[str, int], world: World
) -> None:
    change(world)
    made = looked(world)
    assert actions(made) == found
    assert made.items.unlisted == PICTURES - FOLDER
    # And where nothing is to be done about it, it is remembered anew.
    assert looked(world).items.unlisted == (PICTURES if set(found) == {"skip"} else PICTURES - FOLDER) - (
        30 - found["skip"] if set(found) == {"skip"} else 0
    )


@pytest.mark.parametrize(
    "file", ["recipe", "preset", "policy", "text", "program", "pillow", "verify", "again", "listed"]
)
def test_everything_is_looked_into_when_what_it_depends_on_has_changed(
    file: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = world.root / "omixa.toml"
    wishes = {}
    if file == "recipe":
        world.recipe.write_text(world.recipe.read_text() + "\n# a word\n")
    elif file == "preset":
        settings.write_text(settings.read_text() + "\n[presets.photo]\ncreativity = 0.2\n")
    elif file == "policy":
        settings.write_text(settings.read_text() + '\n[policy]\nforbidden_words = ["zebra"]\n')
    elif file == "text":
        (world.root / "text.txt").write_text("One prompt.")
        text = world.recipe.read_text()
        told = text[text.index("text =") : text.index("\n\n[output]")]
        world.recipe.write_text(text.replace(told, 'file = "text.txt"'))
        world.plan()
        (world.root / "text.txt").write_text("Another prompt.")
    elif file == "program":
        monkeypatch.setattr(seen_module, "__version__", "99")
    elif file == "pillow":
        monkeypatch.setattr(seen_module.PIL, "__version__", "99")
    else:
        wishes = {file: True}
    assert world.plan(**wishes).items.unlisted == 0


def test_a_file_that_is_young_has_its_folder_looked_into(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    (world.root / ".omixa" / FILE_NAME).unlink()
    monkeypatch.setitem(Seen.__init__.__kwdefaults__, "young_ns", 3600 * 10**9)
    for _ in range(2):
        assert looked(world).items.unlisted == 0
    monkeypatch.setitem(Seen.__init__.__kwdefaults__, "young_ns", 0)
    assert looked(world).items.unlisted == 0
    assert looked(world).items.unlisted == PICTURES


class Buyer:
    """Books attempts of the world's items, as another process would."""

    def __init__(self, database: Database, world: World, uid: str = "other") -> None:
        self.items = list(world.plan(listed=True, keep=False).items)
        self.database, self.at = database, NOON
        self.ledger = Ledger(database)
        account = load(world.root, ["scans"])[0].workspaces["studio"].account
        self.run = replace(RUN, uid=uid, workspace=account, currency="sandbox-USD", recipe="elsewhere")
        self.run_id = self.ledger.begin_run(self.run, at=self.at)
        with database.write_transaction() as connection:
            connection.execute(SEEN, {"workspace": account, "model": "stability-upscale-creative"})

    def reserve(self, number: int | None) -> int:
        """Set money aside for one of the items, or (None) for one that nobody has here."""
        draft = None if number is None else self.items[number].draft
        self.at += timedelta(seconds=1)
        key = "f" * 63 + str(self.at.second % 10) if draft is None or draft.key is None else draft.key
        asked = Asked(
            model="stability-upscale-creative",
            item_key=key,
            source_path="elsewhere/a.png",
            source_digest="0" * 64,
            source_bytes=1,
            prompt_name="restore",
            prompt="x",
            prompt_digest=digest("x"),
            negative=None,
            negative_digest=None,
            preset_name="",
            options="{}",
            output_path="elsewhere/out/a.png",
        )
        reserved = self.ledger.reserve(
            self.run_id, self.run, asked, amount_micros=1, caps=[], at=self.at, again=draft is not None
        )
        assert isinstance(reserved, Reserved), reserved
        return reserved.attempt_id

    def release(self, attempt_id: int) -> None:
        self.ledger.release(attempt_id, code="never-sent", message="no", evidence=None, who="ana", at=self.at)


def test_an_item_that_is_booked_again_has_its_folder_looked_into(world: World) -> None:
    with world.ledger() as database:
        buyer = Buyer(database, world)
        attempt = buyer.reserve(3)
        made = looked(world)
        assert (made.items.unlisted, actions(made)) == (PICTURES - FOLDER, {"hold": 1, "skip": PICTURES - 1})
        assert looked(world).items.unlisted == PICTURES - FOLDER
        buyer.release(attempt)
        made = looked(world)
        assert (made.items.unlisted, actions(made)) == (PICTURES - FOLDER, {"skip": PICTURES})
        assert looked(world).items.unlisted == PICTURES
        # Of what is none of its items, nothing changes here.
        for _ in range(3):
            buyer.release(buyer.reserve(None))
            assert looked(world).items.unlisted == PICTURES


def test_after_very_many_entries_everything_is_looked_into(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.images.unchanged._ENTRIES_MAX", 3)
    with world.ledger() as database:
        buyer = Buyer(database, world)
        buyer.release(buyer.reserve(None))
        assert looked(world).items.unlisted == 0
        assert looked(world).items.unlisted == PICTURES


def test_what_holds_is_kept_up_with_the_ledger(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.images.unchanged._BEHIND_MAX", 0)
    monkeypatch.setattr("runner.images.unchanged._ENTRIES_MAX", 6)
    with world.ledger() as database:
        buyer = Buyer(database, world)
        for _ in range(4):
            buyer.release(buyer.reserve(None))
            assert looked(world).items.unlisted == PICTURES


def test_a_ledger_that_was_brought_back_from_a_copy_is_not_the_one_that_was_asked(world: World) -> None:
    ledger, copy = world.root / ".omixa/ledger.db", world.root / "copy.db"
    with world.ledger() as database:
        Buyer(database, world, "first")
    shutil.copyfile(ledger, copy)
    with world.ledger() as database:
        buyer = Buyer(database, world, "second")
        buyer.release(buyer.reserve(None))
    world.source(3).with_name("x.txt").touch()  # so that this folder is remembered as of now
    looked(world)
    assert looked(world).items.unlisted == PICTURES
    shutil.copyfile(copy, ledger)
    # It has fewer entries than were seen; then as many, and others.
    assert looked(world).items.unlisted == PICTURES - FOLDER
    with world.ledger() as database:
        buyer = Buyer(database, world, "third")
        for _ in range(3):
            buyer.release(buyer.reserve(5))
        assert actions(looked(world)) == {"skip": PICTURES}
        attempt = buyer.reserve(5)
        assert actions(looked(world)) == {"hold": 1, "skip": PICTURES - 1}
        buyer.release(attempt)


def test_a_picture_whose_result_goes_where_others_are_is_compared_with_them(world: World) -> None:
    name = '[output]\nfolder = "flat"\nname = "{stem}"'
    world.recipe.write_text(world.recipe.read_text().partition("[output]")[0] + name)
    (world.root / "out").rename(world.root / "was")
    (world.root / "flat").mkdir()
    for number in range(PICTURES):
        output = world.output(number)
        shutil.copyfile(world.root / "was" / output.parent.name / output.name, world.root / "flat" / output.name)
    looked(world)
    looked(world)
    world.source(25).with_name("scan-00000003.PNG").write_bytes(png(5))
    with pytest.raises(Problems) as caught:
        world.plan()
    assert [problem.code for problem in caught.value.problems] == ["output-collision"]


def test_a_memory_that_is_damaged_has_everything_looked_into(world: World) -> None:
    memory = world.root / ".omixa" / FILE_NAME
    assert looked(world).items.unlisted == PICTURES
    for column, value in (
        *(("results", "'x'"), ("items", "'many'"), ("items", "-1"), ("entry", "'x'"), ("listing", "3")),
        *(("keys", "3"), ("keys", "x'00'"), ("hash", "3"), ("results", "3")),
    ):
        with sqlite3.connect(memory) as database:
            database.execute(f"UPDATE unchanged SET {column} = {value}")
        with world.ledger() as opened:
            Buyer(opened, world, column + value)
        looked(world)
    memory.write_bytes(b"no database")
    assert looked(world).items.unlisted == 0


def test_few_pictures_are_all_listed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "LISTED_MAX", PICTURES)
    made = world.plan()
    assert (made.items.unlisted, len(made.items)) == (0, PICTURES)
    assert told(made) == told(world.plan(listed=True))
    monkeypatch.setattr(jobs, "LISTED_MAX", PICTURES - 1)
    assert world.plan().items.unlisted == PICTURES


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_the_answer_is_that_of_a_look_into_everything(seed: int, world: World) -> None:
    dice = random.Random(seed)
    with world.ledger() as database:
        buyer = Buyer(database, world)
        held: list[int] = []
        for _ in range(14):
            number = dice.randrange(PICTURES)
            source, output = world.source(number), world.output(number)
            match dice.randrange(10):
                case 0:
                    source.write_bytes(png(dice.choice((number, 500 + number))))
                case 1 if output.exists():
                    output.unlink()
                case 2 if source.exists():
                    source.unlink()
                case 3:
                    output.write_bytes(dice.choice((b"result %d" % number, b"another")))
                case 4:
                    held.append(buyer.reserve(dice.choice((None, number)))) if not held else None
                case 5 if held:
                    buyer.release(held.pop())
                case 6:
                    world.recipe.write_text(world.recipe.read_text() + "\n#")
                case 7:
                    folder = source.parent
                    folder.rename(folder.with_name("moved"))
                    if dice.random() < 0.5:
                        looked(world)
                    folder.with_name("moved").rename(folder)
                case 8:
                    (source.parent / "notes.txt").write_text("a word")
            looked(world)
        for attempt in held:
            buyer.release(attempt)


def test_many_that_are_in_place_are_told_as_a_number_and_listed_when_asked(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown(*words: str) -> str:
        assert main(["-C", str(world.root), "plan", "scans", *words]) == 0
        return capsys.readouterr().out

    monkeypatch.setattr(jobs, "LISTED_MAX", PICTURES)
    few = shown()
    monkeypatch.setattr(jobs, "LISTED_MAX", PICTURES - 1)
    assert shown("--all") == few
    items = json.loads(shown("--json"))["plans"][0]["items"]
    assert [item["action"] for item in items] == ["skip"] * PICTURES
    told = "30 pictures paid for and in place (`omixa plan scans --all` lists them)\n\n30 pictures: 30 skip\n"
    # So it is whether they were looked into or not.
    assert told in shown("--verify")
    assert shown() == shown("--verify") != few
    world.source(3).with_name("more.png").write_bytes(png(77_777))
    more = shown()
    assert "buy  pictures/0000/more.png  out/0000/more.png  new\n30 pictures paid for" in more
    assert "31 pictures: 1 buy, 30 skip" in more
    assert more == shown("--verify")
    world.source(3).with_name("more.png").rename(world.source(13).with_name("zero.png"))
    more = shown()
    assert "31 pictures: 1 buy, 30 skip" in more
    assert more == shown("--verify")


def test_a_plan_that_is_signed_has_every_picture(world: World) -> None:
    file = world.root / "plan.json"
    assert main(["-C", str(world.root), "plan", "scans", "--out", str(file)]) == 0
    assert len(json.loads(file.read_text())["recipes"][0]["items"]) == PICTURES


def test_a_plan_that_nobody_could_read_is_not_signed(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("runner.approvals.FROZEN_MAX", PICTURES - 1)
    file = world.root / "plan.json"
    assert main(["-C", str(world.root), "plan", "scans", "--out", str(file)]) == 2
    assert "30 pictures, and a plan that is signed has 29 at most" in capsys.readouterr().err
    assert not file.exists()


@pytest.mark.parametrize("young", ["pictures", "results", "neither"])
def test_neither_pictures_nor_results_may_be_young(young: str, tmp_path: Path) -> None:
    moved = Moved(Position("ledger", 0, b""), lambda _: None, lambda *_: iter(()))
    source, output = tmp_path / "pictures", tmp_path / "out"
    for folder in (source, output):
        folder.mkdir()
    if young == "pictures":
        (source / "a.png").touch()
    elif young == "results":
        (output / "a.png").touch()
    for is_known in (False, young == "neither"):
        with Seen(tmp_path / FILE_NAME, young_ns=3600 * 10**9) as seen:
            found = seen.unchanged("scans", "terms", moved)
            assert found is not None
            assert (found.look(str(source)) is not None) == is_known
            found.expect(str(source), str(output))
            found.note(str(source), "00" * 32, is_quiet=True)
            found.remember()


def test_a_ledger_that_went_another_way_since_its_copy_is_not_believed(world: World) -> None:
    ledger, copy = world.root / ".omixa/ledger.db", world.root / "copy.db"
    with world.ledger() as database:
        Buyer(database, world, "first")
    shutil.copyfile(ledger, copy)
    with world.ledger() as database:
        buyer = Buyer(database, world, "second")
        for _ in range(6):
            buyer.release(buyer.reserve(None))
    for folder in range(3):  # so that they are remembered as of now
        world.source(FOLDER * folder).with_name("x.txt").touch()
    looked(world)
    assert looked(world).items.unlisted == PICTURES
    shutil.copyfile(copy, ledger)
    with world.ledger() as database:
        buyer = Buyer(database, world, "third")
        buyer.reserve(5)
        for _ in range(9):
            buyer.release(buyer.reserve(None))
        assert actions(looked(world)) == {"hold": 1, "skip": PICTURES - 1}
