"""`omixa blame`: a picture is known by its content, wherever it is now; who asked for it and what it cost."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.run.conftest import Studio
from tests.run.conftest import open_studio as open_studio
from tests.run.conftest import studio as studio


@pytest.fixture
def bought(studio: Studio) -> Studio:
    studio.recipe()
    studio.pictures(1)
    assert studio.run().code == 0
    return studio


def test_a_renamed_picture_tells_which_request_made_it(bought: Studio, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere.png"
    (bought.root / "out" / bought.outputs()[0]).rename(moved)
    told = bought.omixa("blame", str(moved))
    assert (told.code, told.err) == (0, "")
    lines = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in told.out.splitlines())
    assert list(lines) == [
        *("picture", "digest", "made from", "recipe", "prompt", "model", "options", "price", "attempt", "run"),
    ]
    assert lines["picture"].startswith("out/00")
    assert lines["recipe"].startswith("posters (recipes/posters.toml)")
    assert lines["price"].startswith("0.039000 USD, workspace studio, on 20")
    assert "by hand, by " in lines["run"]


def test_the_author_of_the_commit_is_named(bought: Studio) -> None:
    def git(*words: str) -> None:
        who = ["-c", "user.name=Ana Lima", "-c", "user.email=ana@studio.example"]
        subprocess.run(["git", *who, *words], cwd=bought.root, check=True, capture_output=True)

    git("init", "-q")
    git("add", "omixa.toml", "recipes")
    git("commit", "-qm", "Posters for the autumn\n\nA body.")
    bought.picture("pictures/new.png")
    assert bought.run().code == 0
    told = bought.omixa("blame", str(bought.root / "out/new.png"))
    assert told.code == 0
    assert re.search(r"^written by +Ana Lima <ana@studio\.example>, 20\S+: Posters for the autumn$", told.out, re.M)
    assert re.search(r"^recipe .* at commit [0-9a-f]{12}$", told.out, re.M)
    found = json.loads(bought.omixa("blame", str(bought.root / "out/new.png"), "--json").out)
    assert found["schema"] == "omixa.blame/1"
    assert found["made_by"][-1]["commit"]["author"] == "Ana Lima <ana@studio.example>"
    assert found["made_by"][-1]["money"]["billed"] == "0.039000"


def test_the_digest_alone_is_enough_and_its_beginning_too(bought: Studio) -> None:
    digest = json.loads(bought.omixa("blame", str(bought.root / "out" / bought.outputs()[0]), "--json").out)["digest"]
    for part in (digest, digest.upper(), digest[:8]):
        assert bought.omixa("blame", part).out == bought.omixa("blame", digest).out != ""
    assert bought.omixa("blame", digest[:7]).code == 2


def test_one_picture_of_several_requests_tells_of_each(bought: Studio) -> None:
    bought.picture("pictures/other.png")  # the endpoint answers the tests with one and the same picture
    assert bought.run().code == 0
    told = bought.omixa("blame", str(bought.root / "out/other.png"))
    assert told.out.startswith("2 requests brought this very picture\n\npicture ")
    assert len(re.findall(r"^made from +pictures/", told.out, re.M)) == 2


def test_a_changed_picture_tells_what_was_delivered_to_its_place(bought: Studio) -> None:
    file = bought.root / "out" / bought.outputs()[0]
    file.write_bytes(file.read_bytes() + b"more")
    told = bought.omixa("blame", str(file))
    assert told.code == 1
    first, _, last = told.out.partition("\n\nit was changed since; what was delivered to its place:\n")
    assert first.startswith(f"no request of this ledger made {file} (SHA-256 ")
    assert last.startswith("picture ")


def test_a_source_picture_tells_where_it_went(bought: Studio) -> None:
    source = sorted((bought.root / "pictures").iterdir())[0]
    told = bought.omixa("blame", str(source))
    assert told.code == 1
    assert re.search(r"it is a source picture: it was sent with 1 request: \d+$", told.out)


@pytest.mark.parametrize("picture", ["nothing.png", "", "0123456", "g" * 64, "a" * 65])
def test_what_is_no_picture_is_refused(bought: Studio, picture: str) -> None:
    told = bought.omixa("blame", picture)
    assert (told.code, told.out) == (2, "")
    assert "is no file, and not the SHA-256 of one" in told.err


def test_nothing_of_a_name_or_prompt_steers_the_terminal(open_studio: Callable[..., Studio]) -> None:
    studio = open_studio()
    studio.recipe(text="Restore \\u009b2J\\u202e it.")
    studio.pictures(1)
    assert studio.run().code == 0
    told = studio.omixa("blame", str(studio.root / "out" / studio.outputs()[0]))
    assert told.code == 0
    assert not set(told.out) & {"\x9b", "\u202e"}
