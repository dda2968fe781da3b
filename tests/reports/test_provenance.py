"""`provenance = true`: each picture says which attempt made it, and everything else goes on as it did without."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from runner import booking, images
from runner.images import claim
from tests.images.test_provenance import rewritten
from tests.run.conftest import Studio, kill, wait_until
from tests.run.conftest import open_studio as open_studio
from tests.run.conftest import studio as studio
from tests.run.test_crash import big_studio, sent_twice

HOUSE = Path(__file__).parents[2]


@pytest.fixture
def stamping(studio: Studio) -> Studio:
    studio.recipe(more="provenance = true")
    studio.pictures(2)
    ended = studio.run()
    assert ended.code == 0, ended
    return studio


def blame(studio: Studio, file: Path) -> dict[str, Any]:
    told = studio.omixa("blame", str(file), "--json")
    found: dict[str, Any] = json.loads(told.out)
    assert told.code == (0 if found["made_by"] or found["instead"][0]["is"] == "rewritten" else 1), told
    return found


def delivered(studio: Studio) -> dict[str, bytes]:
    return {name: (studio.root / "out" / name).read_bytes() for name in studio.outputs()}


def test_a_picture_says_which_attempt_made_it_and_the_ledger_keeps_what_came(stamping: Studio) -> None:
    kept = next((stamping.root / ".omixa/results").rglob("*.png"))
    for row in stamping.rows():
        file = stamping.root / row.output_path
        said = claim(file)
        assert said is not None
        assert (said.attempt, said.run) == (row.attempt_id, row.run_uid)
        assert images.digests(file)[1] == kept.stem == hashlib.sha256(kept.read_bytes()).hexdigest()
        with Image.open(file) as after, Image.open(kept) as before:
            assert after.tobytes() == before.tobytes()


def test_metadata_tells_neither_the_prompt_nor_who_nor_the_price_nor_the_key(stamping: Studio) -> None:
    for data in delivered(stamping).values():
        for secret in (b"Restore it", b"0.039", b"39000", b"omx_live", b"127.0.0.1", b"pictures/", b"root@"):
            assert secret not in data.partition(b"IDAT")[0]


def test_the_same_picture_of_two_requests_tells_its_own_request_first(stamping: Studio) -> None:
    made = [blame(stamping, stamping.root / row.output_path) for row in stamping.rows()]
    assert [len(one["made_by"]) for one in made] == [2, 2]  # the endpoint answers with one and the same picture
    assert [one["made_by"][0]["id"] for one in made] == [row.attempt_id for row in stamping.rows()]
    assert {one["says"]["is"] for one in made} == {"so"}


def test_a_second_run_changes_nothing_and_a_removed_picture_comes_back_to_the_byte(stamping: Studio) -> None:
    before = delivered(stamping)
    assert "nothing was sent" in stamping.run().out
    assert delivered(stamping) == before
    for name in before:
        (stamping.root / "out" / name).unlink()
    ended = stamping.run()
    assert "restored 2 without paying" in ended.out
    assert delivered(stamping) == before
    assert stamping.endpoint.counts().requests == 2


def test_turned_on_or_off_later_nothing_is_bought_again_or_called_foreign(stamping: Studio) -> None:
    before = delivered(stamping)
    stamping.recipe()
    assert "nothing was sent" in stamping.run().out
    # Over an unchanged delivery of ours, with a stamp or without, another one may be written.
    assert stamping.run("--reroll").code == 0
    plain = delivered(stamping)
    assert all(b"urn:omixa" not in data for data in plain.values())
    stamping.recipe(more="provenance = true")
    assert stamping.run("--reroll").code == 0
    assert {claim(stamping.root / "out" / name) is not None for name in before} == {True}


def test_a_picture_whose_pixels_somebody_changed_is_left_alone(stamping: Studio) -> None:
    file = stamping.root / "out/000.png"
    rewritten(file, "PNG").replace(file)
    changed = file.read_bytes()
    ended = stamping.run("--reroll")
    assert ended.code == 1
    assert "a file that omixa did not write, or that was changed since" in ended.out + ended.err
    assert file.read_bytes() == changed


def test_a_stamped_picture_that_was_moved_to_another_output_is_known(stamping: Studio) -> None:
    stamping.recipe("again", output="other", more="provenance = true")
    (stamping.root / "other").mkdir()
    shutil.copy(stamping.root / "out/000.png", stamping.root / "other/000.png")
    told = stamping.omixa("plan", "again")
    assert "2 pictures: 1 skip, 1 restore" in told.out or "2 pictures: 1 restore, 1 skip" in told.out, told


def test_a_picture_that_cannot_be_stamped_is_delivered_and_says_why(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from runner.cli import main

    studio.recipe(more="provenance = true")
    studio.pictures(1)
    monkeypatch.setenv("STUDIO_KEY", "omx_live_test-key-0123456789")

    def broken(*_: object) -> None:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(booking.usage, "stamp", broken)
    assert main(["--project", str(studio.root), "run", "posters", "--yes"]) == 0
    assert "delivered without provenance: RuntimeError: a mistake of ours" in capsys.readouterr().out
    assert (studio.rows()[0].state, studio.outputs()) == ("settled", ["000.png"])
    (studio.root / "out/000.png").unlink()
    assert main(["--project", str(studio.root), "run", "posters", "--yes"]) == 0
    assert studio.outputs() == ["000.png"]


# ---- a death


def test_after_kill_9_recovered_pictures_are_stamped_too(open_studio: Callable[..., Studio]) -> None:
    studio = big_studio(open_studio, pictures=30)
    studio.recipe(more="provenance = true")
    process = studio.start("run", "posters", "--yes")
    wait_until(lambda: studio.endpoint.counts().requests > 10, process)
    kill(process)
    ended = studio.run()
    studio.balances()
    assert sent_twice(studio) == []
    settled = [row for row in studio.rows() if row.state == "settled"]
    assert len(studio.outputs()) == len(settled), ended
    for row in settled:
        said = claim(studio.root / row.output_path)
        assert said is not None, row
        assert (said.attempt, said.run) == (row.attempt_id, row.run_uid)


def test_a_recovered_answer_is_delivered_stamped(studio: Studio) -> None:
    from tests.run.test_crash import _put_back

    studio.recipe(more="provenance = true")
    studio.pictures(1)
    studio.run()
    before = delivered(studio)
    kept = next((studio.root / ".omixa/results").rglob("*.png"))
    picture = kept.read_bytes()
    _put_back(studio, picture)
    uid = studio.rows()[0].run_uid
    (studio.root / ".omixa/work" / uid).mkdir(parents=True)
    (studio.root / ".omixa/work" / uid / "provenance").touch()
    kept.unlink()
    (studio.root / "out/000.png").unlink()
    assert "settled from its kept answer" in studio.run().err
    assert delivered(studio) == before


# ---- blame, when anybody may have written into the picture


def test_a_picture_written_anew_is_told_by_what_it_says_and_compared(stamping: Studio, tmp_path: Path) -> None:
    row = stamping.rows()[0]
    file = shutil.copy(stamping.root / row.output_path, tmp_path / "elsewhere.png")
    for kind in ("WEBP", "JPEG", "PNG"):
        file = rewritten(Path(file), kind)
        told = stamping.omixa("blame", str(file))
        assert told.code == 0, told
        assert f"its metadata says that it is attempt {row.attempt_id} of ledger " in told.out
        assert "it looks like what that attempt brought" in told.out
        assert f"{row.attempt_id}: `omixa audit show {row.attempt_id}` has all of it" in told.out


def forged(studio: Studio, **changed: str) -> Path:
    """Another picture that claims to be the first one of the studio."""
    row = studio.rows()[0]
    from runner.ledger import usage
    from runner.ledger.database import open_database

    database = open_database(studio.root / ".omixa/ledger.db", create=False)
    try:
        stamp = usage.stamp(database, row.attempt_id)
    finally:
        database.close()
    plain, file = studio.root / "plain.png", studio.root / "forged.png"
    noise = Image.effect_noise((96, 96), 90).resize((256, 256))
    noise.save(plain)
    edits = images.stamped(plain, images.Stamp(**{**{n: getattr(stamp, n) for n in stamp.__slots__}, **changed}))
    assert not isinstance(edits, str)
    images.write_atomically(plain, file, edits=edits)
    return file


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, "it does not look like what that attempt brought: looks "),
        ({"ledger": "0123456789abcdef" * 2}, "ledger 0123456789abcdef0123456789abcdef, but it is not this one"),
        ({"attempt": "77"}, ", but this ledger has no such attempt"),
        ({"attempt": "999999999999999999"}, ", but this ledger has no such attempt"),
        ({"run": "0123456789abcdef" * 2}, ", but that attempt was of run "),
    ],
)
def test_a_forged_stamp_is_not_believed(stamping: Studio, changed: dict[str, str], words: str) -> None:
    told = stamping.omixa("blame", str(forged(stamping, **changed)))
    assert told.code == 1
    assert told.out.startswith("no request of this ledger made ")
    assert words in told.out


def test_a_stamp_that_names_another_request_than_the_content_is_contradicted(stamping: Studio) -> None:
    kept = next((stamping.root / ".omixa/results").rglob("*.png"))
    file = stamping.root / "stolen.png"
    edits = images.stamped(kept, images.Stamp("0" * 32, "1", "0" * 32, "x", "x", "x", "x", "x"))
    assert not isinstance(edits, str)
    images.write_atomically(kept, file, edits=edits)
    told = stamping.omixa("blame", str(file))
    assert told.code == 0
    assert "2 requests brought this very picture" in told.out
    assert f"attempt 1 of ledger {'0' * 32}, but it is not this one" in told.out


# ---- acceptance 6: every output of the demo


def test_every_picture_of_the_demo_is_told_renamed_and_written_anew(tmp_path: Path) -> None:
    root = tmp_path / "house"
    shutil.copytree(HOUSE / "recipes", root / "recipes")
    shutil.copytree(HOUSE / "pictures", root / "pictures")
    shutil.copytree(HOUSE / "contracts", root / "contracts")
    shutil.copy(HOUSE / "omixa.toml", root)

    def omixa(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "runner", "--project", str(root), *words], capture_output=True, text=True
        )

    for recipe in ("restore-scans", "logos"):
        assert omixa("run", recipe).returncode == 0
    outputs = sorted(path for path in (root / "out").rglob("*") if path.is_file())
    assert len(outputs) == 16
    for number, output in enumerate(outputs):
        place = output.relative_to(root).as_posix()
        renamed = output.rename(tmp_path / f"{number}{output.suffix}")
        again = rewritten(renamed, "JPEG" if renamed.suffix == ".webp" else "WEBP", quality=80)
        for file in (renamed, again):
            told = omixa("blame", str(file), "--json")
            assert told.returncode == 0, (place, told.stdout, told.stderr)
            found = json.loads(told.stdout)
            attempt = found["made_by"][0] if file == renamed else found["instead"][0]["attempt"]
            assert attempt["asked"]["output_path"] == place
            assert found["says"]["is"] == ("so" if file == renamed else "possible")
