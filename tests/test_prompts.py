"""The text one picture is bought with."""

import os
from pathlib import Path

import pytest

from runner.prompts import PromptText, text_for
from runner.recipe import Output, Recipe, Source, Step
from runner.recipe_prompts import Prompt


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pictures/1920").mkdir(parents=True)
    return tmp_path / "pictures"


def recipe(folder: Path, text: str, *, negative: str | None = None, file: str | None = None) -> Recipe:
    return Recipe(
        name="restore-scans",
        path=folder.parent / "recipes/restore-scans.toml",
        digest="0" * 64,
        workspace="studio",
        steps=(
            Step(
                model="stability-upscale-creative",
                sources=(Source(folder=folder, prompts=("p",)),),
                output=Output(folder=folder.parent / "out"),
            ),
        ),
        prompts={"p": Prompt(name="p", text=text, negative=negative, file=file)},
    )


def text(folder: Path, template: str, rel: str = "1920/harbour.jpg", **prompt: str | None) -> PromptText | str:
    picture = folder / rel
    picture.touch()
    made = recipe(folder, template, **prompt)
    return text_for(made, made.steps[0].contract, "p", picture=picture, rel=rel)


def sidecar(folder: Path, content: bytes, rel: str = "1920/harbour.jpg") -> None:
    (folder / f"{rel}.prompt.txt").write_bytes(content)


def test_placeholders_are_filled_in_for_each_picture(folder: Path) -> None:
    template = "{stem} {name} {dir} {parent} {recipe} {{stem}}"
    assert text(folder, template) == PromptText("harbour harbour.jpg 1920 1920 restore-scans {stem}", None, "recipe")


def test_a_picture_directly_in_its_source_folder_has_no_dir(folder: Path) -> None:
    assert text(folder, "[{dir}] {parent}", "logo.png") == PromptText("[] pictures", None, "recipe")


def test_what_is_filled_in_is_not_read_again(folder: Path) -> None:
    assert text(folder, "{stem}", "{recipe}.png") == PromptText("{recipe}", None, "recipe")


def test_the_negative_prompt_is_filled_in_too_and_empty_means_none(folder: Path) -> None:
    assert text(folder, "x", negative="not {stem}") == PromptText("x", "not harbour", "recipe")
    assert text(folder, "x", negative="") == PromptText("x", None, "recipe")


def test_the_origin_names_the_file(folder: Path) -> None:
    assert text(folder, "x", file="prompts/a.txt") == PromptText("x", None, "file:prompts/a.txt")


def test_a_sidecar_wins_over_the_text_and_is_taken_literally(folder: Path) -> None:
    sidecar(folder, b"\xef\xbb\xbfA {stem} {{quay}}\nat dusk.\r\n")
    expected = PromptText("A {stem} {{quay}}\nat dusk.", "blur", "sidecar:1920/harbour.jpg.prompt.txt")
    assert text(folder, "x", negative="blur") == expected


def test_only_one_line_end_is_taken_off(folder: Path) -> None:
    sidecar(folder, b"A quay.\n\n")
    found = text(folder, "x")
    assert isinstance(found, PromptText)
    assert found.text == "A quay.\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the prompt file `harbour.jpg.prompt.txt` is empty"),
        (b" \n", "the prompt file `harbour.jpg.prompt.txt` is empty"),
        (b"\xff", "the prompt file `harbour.jpg.prompt.txt` is not UTF-8: byte 0xff at offset 0"),
        (b"x" * 65537, "the prompt file `harbour.jpg.prompt.txt` is larger than 64 KiB"),
        (
            b"x" * 10_001,
            "the prompt file `harbour.jpg.prompt.txt`: `prompt` has 10001 characters, at most 10000 are accepted",
        ),
        (
            b"omx_live_0123456789",
            "the prompt file `harbour.jpg.prompt.txt` has what looks like a workspace key in it",
        ),
    ],
)
def test_a_sidecar_that_cannot_be_used_is_a_reason_not_to_buy(content: bytes, reason: str, folder: Path) -> None:
    sidecar(folder, content)
    assert text(folder, "x") == reason


def test_a_sidecar_of_the_longest_prompt_is_used(folder: Path) -> None:
    sidecar(folder, "ü".encode() * 10_000 + b"\n")
    found = text(folder, "x")
    assert isinstance(found, PromptText)
    assert len(found.text) == 10_000


def test_a_link_is_no_sidecar_wherever_it_leads(folder: Path) -> None:
    (folder.parent / "secret.txt").write_text("secret")
    link = folder / "1920/harbour.jpg.prompt.txt"
    reason = "the prompt file `harbour.jpg.prompt.txt` is a symbolic link, which is not followed"
    link.symlink_to(folder.parent / "secret.txt")
    assert text(folder, "x") == reason
    link.unlink()
    link.symlink_to("nowhere")
    assert text(folder, "x") == reason


def test_a_folder_is_no_sidecar(folder: Path) -> None:
    (folder / "1920/harbour.jpg.prompt.txt").mkdir()
    assert text(folder, "x") == "the prompt file `harbour.jpg.prompt.txt` is not a file"


def test_a_prompt_that_grows_too_long_when_filled_in_is_a_reason(folder: Path) -> None:
    assert text(folder, "x" * 9_993 + "{stem}") == PromptText("x" * 9_993 + "harbour", None, "recipe")
    assert text(folder, "x" * 9_994 + "{stem}") == (
        "prompt `p`: `prompt` has 10001 characters, at most 10000 are accepted"
    )
    assert text(folder, "x", negative="x" * 9_994 + "{stem}") == (
        "prompt `p`: `negative_prompt` has 10001 characters, at most 10000 are accepted"
    )


def test_a_prompt_that_is_empty_when_filled_in_is_a_reason(folder: Path) -> None:
    assert text(folder, "{dir}", "logo.png") == "prompt `p` is empty"


def test_a_named_pipe_is_no_sidecar_and_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "1920/harbour.jpg.prompt.txt")
    assert text(folder, "x") == "the prompt file `harbour.jpg.prompt.txt` is not a file"
