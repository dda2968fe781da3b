"""What a recipe wants, and where each result goes."""

import random
from itertools import combinations
from pathlib import Path

import pytest

from runner import items
from runner.errors import DiskError
from runner.recipe import Output, Recipe, Source, Step
from runner.recipe_prompts import Prompt
from runner.settings import LedgerSettings, SandboxSettings, Settings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path


def settings(root: Path) -> Settings:
    return Settings(
        root=root, endpoints={}, ledger=LedgerSettings(), sandbox=SandboxSettings(), workspaces={}, presets={}
    )


def recipe(root: Path, *sources: Source, name: str = "{dir}/{stem}", folder: str = "out", **output: str) -> Recipe:
    prompts = {prompt for source in sources for prompt in source.prompts}
    return Recipe(
        name="one",
        path=root / "recipes/one.toml",
        digest="0" * 64,
        workspace="studio",
        steps=(
            Step(
                model="stability-upscale-creative",
                sources=sources,
                output=Output.model_validate({"folder": root / folder, "name": name, **output}),
            ),
        ),
        prompts={prompt: Prompt(name=prompt, text="x") for prompt in prompts},
    )


def source(root: Path, folder: str = "pictures", *, presets: tuple[str, ...] = ("",), **changes: object) -> Source:
    return Source.model_validate({"folder": root / folder, "prompts": ("p",), "presets": presets, **changes})


def pictures(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def outputs(root: Path, made: Recipe) -> list[str]:
    wanted, problems = items.expand(made, settings(root))
    assert problems == []
    return [one.output.relative_to(root).as_posix() for one in wanted]


def codes(root: Path, made: Recipe) -> list[str]:
    return [problem.code for problem in items.expand(made, settings(root))[1]]


def test_each_picture_times_each_prompt_times_each_preset_is_wanted(root: Path) -> None:
    pictures(root, "pictures/b.png", "pictures/sub/a.jpg")
    made = recipe(root, source(root, prompts=("p", "q"), presets=("x", "y")), name="{dir}/{stem}-{prompt}-{preset}")
    wanted, problems = items.expand(made, settings(root))
    assert problems == []
    assert len(wanted) == 8
    assert wanted[0] == items.Wanted(
        source=root / "pictures/b.png",
        rel="b.png",
        source_folder=root / "pictures",
        prompt="p",
        preset="x",
        output=root / "out/b-p-x.png",
        step=made.steps[0],
    )
    assert wanted[7].output == root / "out/sub/a-q-y.png"


def test_placeholders_of_the_name(root: Path) -> None:
    pictures(root, "pictures/sub/a.JPG")
    made = recipe(root, source(root), name="{recipe}/{parent}/{dir}/{stem}.{suffix}.{prompt}{preset}")
    assert outputs(root, made) == ["out/one/sub/sub/a.JPG.p.png"]


@pytest.mark.parametrize(("format_name", "extension"), [("png", "png"), ("jpeg", "jpg"), ("webp", "webp")])
def test_the_format_gives_the_extension(format_name: str, extension: str, root: Path) -> None:
    pictures(root, "pictures/a.b.png")
    assert outputs(root, recipe(root, source(root), format=format_name)) == [f"out/a.b.{extension}"]


def test_results_and_state_are_never_sources(root: Path) -> None:
    pictures(root, "pictures/a.png", "pictures/out/a.png", ".omixa/results/b.png")
    assert outputs(root, recipe(root, source(root), folder="pictures/out")) == ["pictures/out/a.png"]
    everything = recipe(root, source(root, ".", include=("**/*.png", ".*/**/*.png")), folder="pictures/out")
    assert outputs(root, everything) == ["pictures/out/pictures/a.png"]


@pytest.mark.parametrize(
    ("stem", "safe"),
    [
        ("plain é 日本", "plain é 日本"),
        ("a\nb\x1b[0m", "a_b_[0m"),
        ("\u202egnp", "_gnp"),
        ("\u2067x\u2069", "_x_"),
        ("con", "_con"),
        ("Con.backup", "_Con.backup"),
        ("console", "console"),
        ("lpt1", "_lpt1"),
        ("trailing. .", "trailing"),
        ("x" * 240, "x" * 196),
        ("ü" * 110, "ü" * 98),
        ("\N{MAN}\N{ZERO WIDTH JOINER}\N{ROCKET}", "\N{MAN}\N{ZERO WIDTH JOINER}\N{ROCKET}"),
        ("..", "_"),
        ("a:b", "a_b"),
        ('a<b>c|d?e*f"g', "a_b_c_d_e_f_g"),
        ("..\\..\\etc", ".._.._etc"),
        ("con .txt", "_con .txt"),
        ("CONIN$", "_CONIN$"),
        ("zero\u200bwidth\ufeff", "zero_width_"),
        ("tag\U000e0041", "tag_"),
        ("soft\xadhyphen", "soft_hyphen"),
        ("y" * 195 + " ", "y" * 195),
        ("y" * 195 + " z", "y" * 195),
    ],
)
def test_a_result_has_a_name_that_is_safe_everywhere(stem: str, safe: str, root: Path) -> None:
    pictures(root, f"pictures/{stem}.png")
    hidden_too = source(root, include=("*.png", ".*.png"))
    assert outputs(root, recipe(root, hidden_too, name="{stem}")) == [f"out/{safe}.png"]


def test_no_folder_name_leads_out_of_the_output_folder(root: Path) -> None:
    pictures(root, "pictures/.../aux/a.png")
    hidden_too = source(root, include=("**/.*/**/*.png",))
    assert outputs(root, recipe(root, hidden_too)) == ["out/_/_aux/a.png"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a.png", "a.jpg"),
        ("a.png", "A.jpg"),
        ("stra\N{LATIN SMALL LETTER SHARP S}e.png", "STRASSE.png"),
        ("\u00fc.png", "u\u0308.png"),
        ("con.png", "_con.png"),
        ("x" * 200 + "1.png", "x" * 200 + "2.png"),
        ("a:b.png", "a?b.png"),
        ("a.png", "a\N{ZERO WIDTH NON-JOINER}.png"),
        (
            "\N{GREEK CAPITAL LETTER ALPHA WITH PROSGEGRAMMENI}.png",
            "\N{GREEK SMALL LETTER ALPHA}\N{GREEK SMALL LETTER IOTA}.png",
        ),
    ],
)
def test_names_that_some_file_system_takes_for_the_same_collide(first: str, second: str, root: Path) -> None:
    pictures(root, f"pictures/{first}", f"pictures/{second}")
    assert codes(root, recipe(root, source(root))) == ["output-collision"]


def test_each_file_that_is_written_twice_is_one_problem(root: Path) -> None:
    pictures(root, "pictures/a.png", "pictures/a.jpg", "pictures/a.webp", "pictures/b.png", "pictures/b.jpg")
    assert codes(root, recipe(root, source(root))) == ["output-collision", "output-collision"]


@pytest.mark.parametrize(
    ("names", "template", "hint"),
    [
        (("one/a.png", "one/a.jpg"), "{dir}/{stem}", "{suffix}"),
        (("one/x/a.png", "one/y/a.png"), "{stem}", "{dir}"),
        (("one/a.png", "two/a.png"), "{dir}/{stem}", "{parent}"),
        (("one/x/a.png", "two/x/a.png"), "{dir}/{stem}", None),
        ((f"one/{'x' * 200}1.png", f"one/{'x' * 200}2.png"), "{dir}/{stem}", None),
    ],
)
def test_a_collision_names_the_placeholder_that_tells_apart(
    names: tuple[str, ...], template: str, hint: str | None, root: Path
) -> None:
    pictures(root, *names)
    folders = sorted({name.split("/")[0] for name in names})
    made = recipe(root, *(source(root, folder) for folder in folders), name=template)
    (problem,) = items.expand(made, settings(root))[1]
    for name in names:
        assert f"`{name}`" in problem.message
    assert problem.hint == (
        f"add `{hint}` to `name` in `[output]`" if hint else "move one of them to a recipe of its own"
    )


def test_a_result_never_replaces_a_source_through_a_link(root: Path) -> None:
    pictures(root, "pictures/sub/a.png")
    (root / "out").mkdir()
    (root / "out/sub").symlink_to(root / "pictures/sub")
    (problem,) = items.expand(recipe(root, source(root)), settings(root))[1]
    assert problem.code == "overwrites-source"
    assert problem.message == "the result `out/sub/a.png` would replace the source `pictures/sub/a.png`"
    assert outputs(root, recipe(root, source(root), format="jpeg")) == ["out/sub/a.jpg"]


def test_a_picture_whose_name_cannot_be_recorded_is_a_problem(root: Path) -> None:
    pictures(root, "pictures/a.png")
    (root / "pictures/b\udcff.png").touch()
    assert codes(root, recipe(root, source(root))) == ["bad-file-name"]


def test_two_recipes_that_write_the_same_file_are_one_problem(root: Path) -> None:
    pictures(root, "pictures/a.png", "pictures/b.png")
    first = recipe(root, source(root))
    second = first.model_copy(update={"name": "two"})
    third = recipe(root, source(root), folder="elsewhere").model_copy(update={"name": "three"})
    results = [(one, items.expand(one, settings(root))[0]) for one in (first, second, third)]
    (problem,) = items.clashes(results, settings(root))
    assert problem.message == "recipes `one` and `two` would both write `out/a.png`"


def test_a_folder_whose_name_was_cut_does_not_end_in_a_space(root: Path) -> None:
    folder = "y" * 199 + " z"
    pictures(root, f"pictures/{folder}/a.png")
    assert outputs(root, recipe(root, source(root))) == [f"out/{'y' * 199}/a.png"]


def test_a_result_whose_path_no_system_takes_is_said_before_it_is_paid_for(root: Path) -> None:
    pictures(root, "pictures/" + "x" * 190 + ".png")
    room = items.PATH_BYTES_MAX - len(str(root / "out").encode())
    fits = "/".join(["{stem}"] * (room // 191))
    assert codes(root, recipe(root, source(root), name=fits)) == []
    assert codes(root, recipe(root, source(root), name=fits + "/{stem}/{stem}")) == ["output-too-long"]


def test_a_recipe_cannot_want_more_than_a_plan_can_hold(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "WANTED_MAX", 20)
    pictures(root, "pictures/a.png", "pictures/b.png")
    presets = tuple(f"p{n}" for n in range(10))
    assert codes(root, recipe(root, source(root, presets=presets), name="{stem}-{preset}")) == []
    more = recipe(root, source(root, presets=(*presets, "q")), name="{stem}-{preset}")
    wanted, (problem,) = items.expand(more, settings(root))
    assert (wanted, problem.code) == ([], "too-many-items")
    assert problem.message.startswith("the recipe wants more than 20 pictures: ")
    monkeypatch.setattr(items, "WANTED_MAX", 30)
    monkeypatch.setattr(items, "HELD_MAX", 20)
    wanted, (problem,) = items.expand(more, settings(root))
    assert wanted == []
    assert problem.message.startswith("the recipe wants more than 20 pictures, and no more can be compared: ")


@pytest.mark.parametrize(
    ("ours", "theirs", "codes"),
    [
        ("out", "out", ["output-collision"]),
        ("out", "OUT", ["output-collision"]),
        ("out/sub", "out", ["output-collision"]),
        ("out", "out/sub", ["output-collision"]),
        ("out", "out-too", []),
        ("out/one", "out/two", []),
    ],
)
def test_recipes_are_compared_where_one_can_write_into_a_folder_of_the_other(
    ours: str, theirs: str, codes: list[str], root: Path
) -> None:
    pictures(root, "pictures/a.png", "pictures/sub/a.png", "more/sub/a.png", "more/a.png")
    first = recipe(root, source(root), folder=ours)
    second = recipe(root, source(root, "more"), folder=theirs).model_copy(update={"name": "two"})
    for problems in (
        items.all_problems([first, second], settings(root)),
        items.clashes_of([first], [first, second], settings(root)),
        items.clashes_of([second], [first, second], settings(root)),
        items.clashes_of([first, second], [first, second], settings(root)),
    ):
        assert [problem.code for problem in problems] == codes


def test_all_pairs_that_may_meet_are_found_without_a_look_at_each(root: Path) -> None:
    parts = ("a", "A", "a-b", "a b", "b", "ab")
    folders = ["out", *(f"out/{one}" for one in parts), *(f"out/{one}/{other}" for one in parts for other in parts)]
    recipes = [recipe(root, source(root), folder=folder) for folder in random.Random(7).sample(folders * 2, 60)]
    found = {
        (one, other)
        for (one, ours), (other, theirs) in combinations(enumerate(recipes), 2)
        if items._may_meet(ours, theirs)
    }
    assert len(found) > 60
    assert items._meeting(recipes) == found


def test_a_folder_that_is_missing_for_one_recipe_keeps_no_other_from_its_plan(root: Path) -> None:
    pictures(root, "pictures/a.png")
    first = recipe(root, source(root))
    second = recipe(root, source(root, "missing"), folder="elsewhere").model_copy(update={"name": "two"})
    assert items.clashes_of([first], [first, second], settings(root)) == []
    with pytest.raises(DiskError, match="missing"):
        items.all_problems([first, second], settings(root))


@pytest.mark.parametrize("batch", [1, 2, 3, 100])
def test_batches_are_all_that_is_wanted_in_its_order(batch: int, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "BATCH", batch)
    pictures(root, *(f"pictures/{name}" for name in ("a.png", "b/c.png", "b/d.png", "b.png", "e/f/g.png", "h.png")))
    made = recipe(root, source(root, prompts=("p", "q")), name="{dir}/{stem}-{prompt}")
    wants = items.Wants(made, settings(root))
    batches = list(wants.batches())
    assert [one for own in batches for one in own] == items.expand(made, settings(root))[0]
    assert [one.rel for own in batches for one in own[::2]] == sorted(
        ("a.png", "b.png", "b/c.png", "b/d.png", "e/f/g.png", "h.png"), key=lambda rel: rel.split("/")
    )
    assert all(len(own) < batch + 2 for own in batches)
    assert wants.problems() == []
