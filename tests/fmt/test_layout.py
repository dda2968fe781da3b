"""How files are laid out: whole texts in, whole texts out."""

import tomllib
from pathlib import Path
from textwrap import dedent

import pytest

from runner.commands.schema import schema
from runner.layout import WIDTH, NotKept, laid_out, prove
from tests.fmt.made import recipe
from tests.long.layouts import fault

REPOSITORY = Path(__file__).parents[2]
RECIPE, SETTINGS = schema("recipe"), schema("settings")

# name → what is written, and how it is laid out
CASES = {
    "tables and keys come in the order of the schema": (
        """\
        model = "m"
        workspace = "w"
        [output]
        name = "n"
        folder = "f"
        [[sources]]
        preset = "p"
        folder = "s"
        """,
        """\
        workspace = "w"
        model = "m"

        [[sources]]
        folder = "s"
        preset = "p"

        [output]
        folder = "f"
        name = "n"
        """,
    ),
    "names that are free, and sources, keep the order they were written in": (
        """\
        [prompts.zebra]
        text = "z"
        [output]
        folder = "out"
        [prompts.ant]
        text = "a"
        [[sources]]
        folder = "second"
        [[sources]]
        folder = "first"
        """,
        """\
        [[sources]]
        folder = "second"

        [[sources]]
        folder = "first"

        [prompts.zebra]
        text = "z"

        [prompts.ant]
        text = "a"

        [output]
        folder = "out"
        """,
    ),
    "what the schema does not know comes last, as it was": (
        """\
        zeta = 1
        alpha = 2
        workspace = "w"
        [unknown]
        b = 1
        a = 2
        [budget]
        run = "1"
        """,
        """\
        workspace = "w"
        zeta = 1
        alpha = 2

        [budget]
        run = "1"

        [unknown]
        b = 1
        a = 2
        """,
    ),
    "a comment goes where what it touches goes": (
        """\
        # above the model
        model = "m" # beside the model
        # above the workspace
        workspace = "w"
        # below the workspace

        # about the budget
        [budget] # beside the budget
        # above the month
        month = "2"
        run = "1"
        # day = "1"

        [output] # beside the output
        # below the output

        folder = "f"
        """,
        """\
        # above the workspace
        workspace = "w"
        # below the workspace

        # above the model
        model = "m" # beside the model

        [output] # beside the output
        # below the output

        folder = "f"

        # about the budget
        [budget] # beside the budget
        run = "1"
        # day = "1"

        # above the month
        month = "2"
        """,
    ),
    "a comment that touches nothing at the top or the end stays there": (
        """\
        # Who owns this file.

        model = "m"
        workspace = "w"
        [budget]
        run = "1"
        [[sources]]
        folder = "f"

        # vim: set ft=toml:
        """,
        """\
        # Who owns this file.

        workspace = "w"
        model = "m"

        [[sources]]
        folder = "f"

        [budget]
        run = "1"

        # vim: set ft=toml:
        """,
    ),
    "the schema's line stays first, whatever it touches": (
        """\
        #:schema recipe.schema.json
        # about the model
        model = "m"
        workspace = "w"
        """,
        """\
        #:schema recipe.schema.json
        workspace = "w"
        # about the model
        model = "m"
        """,
    ),
    "spaces and empty lines are the same everywhere": (
        """\


          workspace="w"   # beside


        budget={run="1",month = "2"}
        labels . "a b"  =  'x'
        [ prompts . "restore" ]
        text=\"\"\"
          kept
            as it is\"\"\"
        """,
        """\
        workspace = "w" # beside
        labels."a b" = 'x'

        budget = { run = "1", month = "2" }

        [prompts."restore"]
        text = \"\"\"
          kept
            as it is\"\"\"
        """,
    ),
    "numbers and dates keep their spelling": (
        "b = [0x1F,1_000, 1e3,0.30]\na=1979-05-27 07:32:00.50Z\n",
        "b = [0x1F, 1_000, 1e3, 0.30]\na = 1979-05-27 07:32:00.50Z\n",
    ),
    "an array goes on one line when it fits, and has one item a line when not, or when it has comments": (
        """\
        [[sources]]
        include = [
          "**/*.png", "**/*.jpg"
        ]
        exclude = ["a-long-name-of-a-folder/**", "another-long-name-of-a-folder/**", "one-more/**", "last/**"]
        prompt = [ # beside the bracket
          "a", # beside a
          # above b
          "b"  # beside b
          , "c"
          # at the end
        ] # beside the array
        """,
        """\
        [[sources]]
        include = ["**/*.png", "**/*.jpg"]
        exclude = [
            "a-long-name-of-a-folder/**",
            "another-long-name-of-a-folder/**",
            "one-more/**",
            "last/**",
        ]
        prompt = [ # beside the bracket
            "a", # beside a
            # above b
            "b", # beside b
            "c",
            # at the end
        ] # beside the array
        """,
    ),
    "keys of a table that stand in several places come together": (
        """\
        output.name = "n"
        workspace = "w"
        output.folder = "f"
        """,
        """\
        workspace = "w"
        output.folder = "f"
        output.name = "n"
        """,
    ),
    "tables inside of a source stay with that source": (
        """\
        [[sources]]
        folder = "one"
        [sources.more]
        x = 1
        [output]
        folder = "out"
        [[sources]]
        folder = "two"
        [sources.more]
        x = 2
        """,
        """\
        [[sources]]
        folder = "one"

        [sources.more]
        x = 1

        [[sources]]
        folder = "two"

        [sources.more]
        x = 2

        [output]
        folder = "out"
        """,
    ),
    "nothing stays nothing": ("", ""),
    "comments alone stay": ("\n\n# a\n\n\n# b", "# a\n\n# b\n"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_file_is_laid_out(case: str) -> None:
    before, after = (dedent(text) for text in CASES[case])
    assert laid_out(before, RECIPE) == after
    assert laid_out(after, RECIPE) == after


def test_an_array_of_exactly_the_width_stays_on_its_line() -> None:
    fits = 'x = ["' + "a" * (WIDTH - len('x = ["", 1]')) + '", 1]\n'
    assert len(fits) == WIDTH + 1
    assert laid_out(fits, None) == fits
    assert laid_out(fits.replace("aa", "aaa", 1), None).count("\n") == 4


def test_line_ends_stay_what_they_are() -> None:
    before = 'model="m"\r\nworkspace="w" # who\r\n[prompts.a]\r\ntext="""\r\none\r\ntwo"""\r\n'
    after = laid_out(before, RECIPE)
    assert after == 'workspace = "w" # who\r\nmodel = "m"\r\n\r\n[prompts.a]\r\ntext = """\r\none\r\ntwo"""\r\n'
    assert laid_out(after, RECIPE) == after
    assert "\r" not in laid_out("a=1\nb=2\r\n", RECIPE)


@pytest.mark.parametrize("first", range(0, 300, 50))
def test_recipes_that_nobody_would_write_lose_nothing_and_change_once(first: int) -> None:
    """The whole of it is tests/long/layouts.py."""
    for seed in range(first, first + 50):
        made = recipe(seed)
        assert fault(made, RECIPE) is None, f"seed {seed}\n{made.text}"


def test_the_recipes_made_have_what_could_be_lost() -> None:
    texts = [recipe(seed) for seed in range(100)]
    assert sum(len(made.comments) for made in texts) > 1000
    for spelling in ("'''", '"""', "0xDEAD_beef", "{", "[[", "#:schema", " . ", "\t"):
        assert sum(spelling in made.text for made in texts) > 10, spelling


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a = 1\n", "a = 2\n"),
        ("a = 1\n", "a = true\n"),
        ("a = 0.30\n", "a = 0.3\n"),
        ("a = 1\n", "a = 1\nb = 2\n"),
        ("a = 1 # one\n", "a = 1\n"),
        ("a = 1 # one\n", "a = 1 # one\n# one\n"),
        ('a = "# no"\n', 'a = "# no" # no\n'),
        ("a = 1\n", "a = \n"),
    ],
)
def test_what_would_not_be_the_same_is_refused(before: str, after: str) -> None:
    with pytest.raises(NotKept):
        prove(before, after)


def test_what_is_the_same_is_proven() -> None:
    prove("b = [1,\n2] #  x \na = 0.30", "a = 0.30\n#  x\nb = [1, 2]\n")


def own_files() -> list[Path]:
    return [
        *REPOSITORY.glob("omixa.toml"),
        *REPOSITORY.glob("recipes/*.toml"),
        *REPOSITORY.glob("runner/scaffold/**/*.toml"),
        *REPOSITORY.glob("tests/problems/_project/*.toml"),
    ]


@pytest.mark.parametrize("path", own_files(), ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_every_file_of_this_repository_is_laid_out(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert laid_out(text, SETTINGS if path.name == "omixa.toml" else RECIPE) == text


@pytest.mark.parametrize("page", [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))])
def test_every_example_of_the_docs_is_laid_out(page: Path) -> None:
    for part in page.read_text(encoding="utf-8").split("```toml\n")[1:]:
        text = part.partition("```")[0]
        is_settings = bool(
            {"workspaces", "endpoints", "alerts", "audit", "invoices", "reports", "policy"} & tomllib.loads(text).keys()
        )
        assert laid_out(text, SETTINGS if is_settings else RECIPE) == text, page.name
