"""A recipe file → Recipe, or every Problem in it. What problems look like is in tests/problems."""

import hashlib
import os
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from runner import recipe, settings
from runner.contracts import CONTRACTS
from runner.diagnostics import Problem
from runner.slots import Timing
from tests.test_settings import VALUES, changed

SETTINGS: dict[str, Any] = {
    "workspaces": {
        "studio": {
            "endpoint": "sandbox",
            "currency": "USD",
            "time_zone": "Europe/Berlin",
            "budget": {"day": "5.00"},
        }
    },
    "presets": {"photo": {"creativity": Decimal("0.3")}, "plain": {}},
}
RECIPE: dict[str, Any] = {
    "workspace": "studio",
    "model": "stability-upscale-creative",
    "sources": [{"folder": "pictures", "preset": "photo"}],
    "prompts": {"restore": {"text": "Restore {stem}.", "negative": "text"}},
    "output": {"folder": "out"},
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "omixa.toml").write_text(tomli_w.dumps(SETTINGS))
    for folder in ("recipes", "pictures/more", "prompts"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def load(root: Path, data: dict[str, Any], name: str = "one") -> tuple[recipe.Recipe | None, list[Problem]]:
    path = root / "recipes" / f"{name}.toml"
    path.write_text(tomli_w.dumps(data), encoding="utf-8")
    declared, problems = settings.load(root)
    assert problems == []
    assert declared is not None
    return recipe.load(path, declared)


def loaded(root: Path, data: dict[str, Any]) -> recipe.Recipe:
    made, problems = load(root, data)
    assert problems == []
    assert made is not None
    return made


def codes(root: Path, data: dict[str, Any], name: str = "one") -> list[str]:
    made, problems = load(root, data, name)
    assert (made is None) == bool(problems)
    return [problem.code for problem in problems]


def with_prompt(**prompt: Any) -> dict[str, Any]:
    return {**RECIPE, "prompts": {"restore": prompt}}


def with_source(**source: Any) -> dict[str, Any]:
    return {**RECIPE, "sources": [{"folder": "pictures", **source}]}


def with_output(**output: Any) -> dict[str, Any]:
    return {**RECIPE, "output": {"folder": "out", **output}}


def test_the_least_recipe_has_all_the_defaults(root: Path) -> None:
    made = loaded(root, RECIPE)
    assert (made.name, made.path) == ("one", root / "recipes/one.toml")
    assert made.steps[0].sources == (recipe.Source(folder=root / "pictures", prompts=("restore",), presets=("photo",)),)
    assert made.steps[0].sources[0].include == ("**/*.png", "**/*.jpg", "**/*.jpeg", "**/*.webp")
    assert made.prompts == {"restore": recipe.Prompt(name="restore", text="Restore {stem}.", negative="text")}
    assert made.steps[0].output == recipe.Output(folder=root / "out", name="{dir}/{stem}", format="png", flatten=None)
    assert made.presets == {"": {}, "photo": {"creativity": Decimal("0.3")}, "plain": {}}
    assert (made.budget, made.schedule, made.allow) == ({}, None, recipe.Allow())


def test_everything_that_can_be_declared_is_kept(root: Path) -> None:
    made = loaded(
        root,
        {
            **RECIPE,
            "description": "Old\nscans",
            "cost_centre": "4711",
            "labels": {"project": "archive"},
            "budget": {"run": "2.00", "quarter": "20"},
            "allow": {"style_preset": ["new-style"], "sixteen_bit": True},
            "presets": {"new": {"style_preset": "new-style"}},
            "schedule": {"cron": "0 2 * * 1-5", "missed": "once", "jitter_s": 60, "time_limit_s": 600},
            "output": {"folder": "out", "name": "{stem}", "format": "jpeg", "flatten": "#FFFFFF"},
        },
    )
    assert (made.description, made.cost_centre, made.labels) == ("Old\nscans", "4711", {"project": "archive"})
    assert made.budget == {"run": 2_000_000, "quarter": 20_000_000}
    assert made.allow == recipe.Allow(style_preset=("new-style",), sixteen_bit=True)
    assert made.presets["new"] == {"style_preset": "new-style"}
    assert made.schedule == recipe.Schedule(cron="0 2 * * 1-5", missed="once", jitter_s=60, time_limit_s=600)
    assert made.steps[0].output == recipe.Output(folder=root / "out", name="{stem}", format="jpeg", flatten="#ffffff")


def test_a_schedule_is_due_by_its_own_clock_or_else_by_the_workspaces(root: Path) -> None:
    declared = (
        ({"cron": "0 2 * * *"}, Timing("0 2 * * *", None, "Europe/Berlin")),
        ({"cron": "0 2 * * *", "time_zone": "Asia/Tokyo"}, Timing("0 2 * * *", None, "Asia/Tokyo")),
        ({"every": "15m"}, Timing(None, 900, "Europe/Berlin")),
        ({"every": "36h", "time_zone": "Asia/Tokyo"}, Timing(None, 129_600, "Asia/Tokyo")),
    )
    for schedule, timing in declared:
        made = loaded(root, {**RECIPE, "schedule": schedule}).schedule
        assert made is not None
        assert made.timing("Europe/Berlin") == timing


def test_the_digest_is_that_of_the_bytes_the_recipe_was_read_from(root: Path) -> None:
    first = loaded(root, RECIPE)
    assert first.digest == hashlib.sha256((root / "recipes/one.toml").read_bytes()).hexdigest()
    # Bytes that change nothing in the text are bytes of the file.
    again = b"\xef\xbb\xbf" + (root / "recipes/one.toml").read_bytes().replace(b"\n", b"\r\n") + b"# \xc3\xbc\r\n"
    (root / "recipes/two.toml").write_bytes(again)
    declared, _ = settings.load(root)
    assert declared is not None
    second, problems = recipe.load(root / "recipes/two.toml", declared)
    assert problems == []
    assert second is not None
    assert second.digest == hashlib.sha256(again).hexdigest()
    (root / "recipes/two.toml").write_bytes(b"edited meanwhile")
    assert second.digest == hashlib.sha256(again).hexdigest()


def test_the_recipes_own_preset_replaces_the_shared_one_as_a_whole(root: Path) -> None:
    made = loaded(root, {**RECIPE, "presets": {"photo": {"seed": 0}}})
    assert made.presets["photo"] == {"seed": 0}


def test_prompts_and_presets_are_one_name_or_several(root: Path) -> None:
    data = with_source(prompt=["restore"], preset=["photo", "plain"])
    source = loaded(root, data).steps[0].sources[0]
    assert (source.prompts, source.presets) == (("restore",), ("photo", "plain"))


def test_a_source_without_preset_has_the_nameless_one_without_options(root: Path) -> None:
    made = loaded(root, with_source())
    assert made.steps[0].sources[0].presets == ("",)
    assert made.presets[""] == {}


def test_one_prompt_needs_no_naming_and_two_do(root: Path) -> None:
    assert loaded(root, with_source()).steps[0].sources[0].prompts == ("restore",)
    two = {**with_source(), "prompts": {"a": {"text": "A."}, "b": {"text": "B."}}}
    assert codes(root, two) == ["missing-prompt"]


# --- prompt files --------------------------------------------------------------------------------------------------


def test_a_prompt_file_is_read_with_its_includes(root: Path) -> None:
    (root / "prompts/main.txt").write_bytes(b"\xef\xbb\xbfKeep {stem}. {file:parts/style.txt}\r\n")
    (root / "prompts/parts").mkdir()
    (root / "prompts/parts/style.txt").write_text("Crisp {{detail}}.\n\n")
    prompt = loaded(root, with_prompt(file="prompts/main.txt")).prompts["restore"]
    assert prompt.text == "Keep {stem}. Crisp {{detail}}.\n"
    assert prompt.file == "prompts/main.txt"


def test_text_in_the_recipe_includes_relative_to_the_project(root: Path) -> None:
    (root / "prompts/style.txt").write_text("Crisp.")
    prompt = loaded(root, with_prompt(text="A. {file:prompts/style.txt}", negative="{file:prompts/style.txt}"))
    assert prompt.prompts["restore"].text == "A. Crisp."
    assert prompt.prompts["restore"].negative == "Crisp."


def test_the_same_file_may_be_included_twice(root: Path) -> None:
    (root / "prompts/style.txt").write_text("Crisp.")
    text = "{file:prompts/style.txt} {file:prompts/style.txt}"
    assert loaded(root, with_prompt(text=text)).prompts["restore"].text == "Crisp. Crisp."


def test_a_file_that_includes_itself_is_a_circle(root: Path) -> None:
    (root / "prompts/a.txt").write_text("A {file:a.txt}")
    _, problems = load(root, with_prompt(text="{file:prompts/a.txt}"))
    assert [problem.code for problem in problems] == ["circular-prompt"]
    assert problems[0].message.endswith("circle: prompts/a.txt → prompts/a.txt")


def test_a_circle_through_a_link_is_a_circle(root: Path) -> None:
    (root / "prompts/a.txt").write_text("A {file:b.txt}")
    (root / "prompts/b.txt").symlink_to("a.txt")
    assert codes(root, with_prompt(file="prompts/a.txt")) == ["circular-prompt"]


def test_includes_cannot_multiply_without_end(root: Path) -> None:
    for level in range(8):
        (root / f"prompts/{level}.txt").write_text(f"{{file:{level + 1}.txt}}" * 20)
    (root / "prompts/8.txt").write_text("x")
    assert set(codes(root, with_prompt(file="prompts/0.txt"))) == {"too-many-includes"}


@pytest.mark.parametrize("name", ["../outside.txt", "link.txt"])
def test_text_from_outside_the_project_is_not_read(name: str, root: Path) -> None:
    (root.parent / "outside.txt").write_text("secret")
    (root / "link.txt").symlink_to(root.parent / "outside.txt")
    assert codes(root, with_prompt(file=name)) == ["outside-project"]
    assert codes(root, with_prompt(text=f"{{file:{name}}}")) == ["outside-project"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, "missing-prompt-file"),
        (b"\xff", "missing-prompt-file"),
        (b"x" * 65537, "missing-prompt-file"),
        (b"\n", "empty-prompt"),
        (b"x" * 10_000 + b"\n", None),
        ("ü".encode() * 10_000, None),
        (b"x" * 10_001, "too-long"),
        (b"use omx_live_0123456789", "key-in-file"),
    ],
)
def test_each_fault_of_a_prompt_file(content: bytes | None, code: str | None, root: Path) -> None:
    if content is not None:
        (root / "prompts/a.txt").write_bytes(content)
    assert codes(root, with_prompt(file="prompts/a.txt")) == ([code] if code else [])


def test_a_key_in_an_included_file_is_found_there(root: Path) -> None:
    (root / "prompts/a.txt").write_text("Crisp.\nomx_test_0123456789")
    _, problems = load(root, with_prompt(text="{file:prompts/a.txt}"))
    assert [problem.code for problem in problems] == ["key-in-file"]
    assert problems[0].place is not None
    assert (problems[0].place.path, problems[0].place.line) == ("prompts/a.txt", 2)


def test_a_hundred_includes_are_read_and_one_more_is_not(root: Path) -> None:
    (root / "prompts/a.txt").write_text("x")
    assert codes(root, with_prompt(text="{file:prompts/a.txt}" * 100)) == []
    assert codes(root, with_prompt(text="{file:prompts/a.txt}" * 101)) == ["too-many-includes"]


def test_a_fault_in_a_prompt_file_stands_in_that_file(root: Path) -> None:
    (root / "prompts/a.txt").write_text("A\n  {nmae}\n")
    _, problems = load(root, with_prompt(file="prompts/a.txt"))
    assert problems[0].place is not None
    assert (problems[0].place.path, problems[0].place.line, problems[0].place.column) == ("prompts/a.txt", 2, 3)


def test_a_prompt_file_that_is_no_file_is_not_waited_for(root: Path) -> None:
    import os

    os.mkfifo(root / "prompts/pipe.txt")
    assert codes(root, with_prompt(file="prompts/pipe.txt")) == ["missing-prompt-file"]
    assert codes(root, with_prompt(file="prompts")) == ["missing-prompt-file"]


# --- limits, one inside and one outside ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (with_prompt(text="x" * 10_000), []),
        (with_prompt(text="x" * 10_001), ["too-long"]),
        (with_prompt(text="x" * 10_000 + "{stem}"), []),
        (with_prompt(text="x" * 10_001 + "{stem}"), ["too-long"]),
        (with_prompt(text="{stem}"), []),
        (with_prompt(text=""), ["empty-prompt"]),
        (with_prompt(text=" \n"), ["empty-prompt"]),
        (with_prompt(text="x", negative=""), []),
        (with_prompt(text="x", negative="x" * 10_000), []),
        (with_prompt(text="x", negative="x" * 10_001), ["too-long"]),
        (with_prompt(text="x", negative="{stm}"), ["unknown-placeholder"]),
        (with_prompt(text="{{stm}} {{}}"), []),
        (with_prompt(text="{stm"), ["lone-brace"]),
        (with_prompt(text="stm}"), ["lone-brace"]),
        (with_prompt(text="{}"), ["unknown-placeholder"]),
        (with_prompt(text="{file:}"), ["missing-prompt-file"]),
        (with_prompt(), ["missing-text"]),
        (with_prompt(text="x", file="y"), ["text-and-file"]),
        (with_source(include=["**/*.tif"], exclude=["drafts/**"]), []),
        (with_source(include=[]), ["too-short"]),
        (with_source(include=["/etc/*"]), ["bad-pattern"]),
        (with_source(include=["a/../../*"]), ["bad-pattern"]),
        (with_source(include=[""]), ["bad-pattern"]),
        (with_source(prompt=[]), ["too-short"]),
        (with_source(prompt="restor"), ["unknown-prompt"]),
        (with_source(preset=["photo", "phot"]), ["unknown-preset"]),
        (with_source(preset=3), ["wrong-type"]),
        ({**RECIPE, "presets": {"a": {"creativity": Decimal("0.1"), "seed": 4294967294}}}, []),
        ({**RECIPE, "presets": {"a": {"creativity": Decimal("0.5"), "seed": 0}}}, []),
        ({**RECIPE, "presets": {"a": {"creativity": Decimal("0.09")}}}, ["out-of-range"]),
        ({**RECIPE, "presets": {"a": {"creativity": Decimal("0.51")}}}, ["out-of-range"]),
        ({**RECIPE, "presets": {"a": {"seed": 4294967295}}}, ["out-of-range"]),
        ({**RECIPE, "presets": {"a": {"seed": Decimal("1.0")}}}, ["wrong-type"]),
        ({**RECIPE, "presets": {"a": {"creativity": True}}}, ["wrong-type"]),
        ({**RECIPE, "presets": {"a": {"negative_prompt": "x"}}}, ["option-elsewhere"]),
        ({**RECIPE, "presets": {"a": {"model": "x"}}}, ["unknown-option"]),
        ({**RECIPE, "presets": {"a": {"style_preset": "new"}}}, ["unknown-choice"]),
        ({**RECIPE, "presets": {"a": {"style_preset": "new"}}, "allow": {"style_preset": ["new"]}}, []),
        ({**RECIPE, "presets": {"a": {"style_preset": "old"}}, "allow": {"style_preset": ["new"]}}, ["unknown-choice"]),
        ({**RECIPE, "schedule": {"cron": "0 2 * * *", "jitter_s": 3600}}, []),
        ({**RECIPE, "schedule": {"cron": "0 2 * * *", "jitter_s": 3601}}, ["out-of-range"]),
        ({**RECIPE, "schedule": {"cron": "0 2 * * *", "time_limit_s": 0}}, ["out-of-range"]),
        ({**RECIPE, "schedule": {"paused": True}}, ["missing-key"]),
        ({**RECIPE, "schedule": {"every": "1m"}}, []),
        ({**RECIPE, "schedule": {"every": "7d", "jitter_s": 3600}}, []),
        ({**RECIPE, "schedule": {"every": "0m"}}, ["bad-interval"]),
        ({**RECIPE, "schedule": {"every": "169h"}}, ["bad-interval"]),
        ({**RECIPE, "schedule": {"every": 15}}, ["wrong-type"]),
        ({**RECIPE, "schedule": {"cron": "0 2 * * *", "every": "1d"}}, ["cron-and-every"]),
        ({**RECIPE, "schedule": {"corn": "0 2 * * *"}}, ["unknown-key"]),
        ({**RECIPE, "schedule": {"evry": "1d"}}, ["unknown-key"]),
        ({**RECIPE, "schedule": {"every": "15m", "jitter_s": 899}}, []),
        ({**RECIPE, "schedule": {"every": "15m", "jitter_s": 900}}, ["jitter-too-long"]),
        ({**RECIPE, "schedule": {"every": "15m", "jitter_s": 3601}}, ["out-of-range"]),
        ({**RECIPE, "schedule": {"every": "x", "jitter_s": 3600}}, ["bad-interval"]),
        ({**RECIPE, "labels": {"a": "x" * 200}}, []),
        ({**RECIPE, "labels": {"a": "x" * 201}}, ["bad-text"]),
        ({**RECIPE, "cost_centre": "a\nb"}, ["bad-text"]),
        ({**RECIPE, "cost_centre": ""}, ["bad-text"]),
        ({**RECIPE, "description": "x" * 2001}, ["too-long"]),
        ({**RECIPE, "name": "x"}, ["unknown-key"]),
        ({**RECIPE, "path": "x"}, ["unknown-key"]),
        ({**RECIPE, "sources": []}, ["too-short"]),
        ({**RECIPE, "prompts": {}}, ["too-short"]),
        (with_output(name="{dir}/{prompt}/{stem}.{suffix}.{preset}"), []),
        (with_output(name="/{stem}"), ["unsafe-output-name"]),
        (with_output(name="../{stem}"), ["unsafe-output-name"]),
        (with_output(name="a/../../{stem}"), ["unsafe-output-name"]),
        (with_output(name="a\\{stem}"), ["unsafe-output-name"]),
        (with_output(name="~/{stem}"), ["unsafe-output-name"]),
        (with_output(name="{stem}\n"), ["unsafe-output-name"]),
        (with_output(name="{stem}/"), ["unsafe-output-name"]),
        (with_output(name=""), ["unsafe-output-name"]),
        (with_output(name="{stem}.PNG"), ["extension-in-name"]),
        (with_output(name="{name}"), ["unknown-placeholder"]),
        (with_output(name="{file:x}"), ["unknown-placeholder"]),
        (with_output(flatten="#abcde"), ["bad-colour"]),
        (with_output(folder=""), ["bad-path"]),
        (with_output(folder="a\0b"), ["bad-path"]),
        (with_source(folder="x" * 300), ["bad-path"]),
        (with_source(folder="~nobody/x"), ["missing-folder"]),
        (with_output(folder="pictures/out"), []),
        (with_output(folder="pictures"), ["output-over-source"]),
        (with_output(folder="pictures/more/.."), ["output-over-source"]),
        (with_output(folder="."), ["output-over-source"]),
        (with_output(folder=".."), ["output-over-source"]),
    ],
)
def test_each_rule_inside_and_outside(data: dict[str, Any], expected: list[str], root: Path) -> None:
    assert codes(root, data) == expected


def test_an_output_folder_that_is_a_link_to_the_sources_is_the_sources(root: Path) -> None:
    (root / "out").symlink_to("pictures")
    assert codes(root, RECIPE) == ["output-over-source"]


@pytest.mark.parametrize("name", ["one", "1", "a.b_c-d", "x" * 64])
def test_names_of_recipes(name: str, root: Path) -> None:
    assert codes(root, RECIPE, name) == []


@pytest.mark.parametrize("name", ["One", "-a", ".a", "a b", "ü", "x" * 65])
def test_names_that_recipes_cannot_have(name: str, root: Path) -> None:
    assert codes(root, RECIPE, name) == ["bad-name"]


def test_a_shared_preset_for_another_model_is_refused_where_it_is_used(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = CONTRACTS["stability-upscale-creative"]
    strength = replace(next(field for field in contract.fields if field.name == "creativity"), name="strength")
    other = replace(contract, model="other", fields=(*contract.fields, strength))
    monkeypatch.setitem(CONTRACTS, "other", other)
    presets = {"photo": {"strength": Decimal("0.3")}}
    (root / "omixa.toml").write_text(tomli_w.dumps({**SETTINGS, "presets": presets}))

    assert codes(root, {**RECIPE, "model": "other"}) == []
    assert codes(root, with_source()) == []
    assert codes(root, RECIPE) == ["preset-misfit"]
    assert codes(root, {**RECIPE, "presets": {"photo": {}}}) == []


PATHS = [
    *[(key,) for key in (*RECIPE, "description", "labels", "presets", "budget", "allow", "schedule", "x")],
    ("prompts", "restore"),
    ("prompts", "restore", "text"),
    ("prompts", "restore", "negative"),
    ("prompts", "a b"),
    ("presets", "photo"),
    ("presets", "photo", "style_preset"),
    *[("output", key) for key in ("folder", "name", "format", "flatten", "x")],
    ("budget", "run"),
    ("allow", "style_preset"),
    ("allow", "sixteen_bit"),
    *[("schedule", key) for key in ("cron", "every", "time_zone", "missed", "jitter_s", "time_limit_s", "paused")],
    *[("sources", key) for key in ("folder", "include", "exclude", "prompt", "preset", "x")],
]


@hypothesis_settings(max_examples=400, deadline=None)
@given(path=st.sampled_from(PATHS), value=VALUES)
def test_any_value_anywhere_is_a_problem_with_a_place_or_none_at_all(
    tmp_path_factory: pytest.TempPathFactory, path: tuple[str, ...], value: Any
) -> None:
    root = tmp_path_factory.getbasetemp() / "recipes-of-chance"
    root.mkdir(exist_ok=True)
    (root / "omixa.toml").write_text(tomli_w.dumps(SETTINGS))
    (root / "recipes").mkdir(exist_ok=True)
    (root / "pictures").mkdir(exist_ok=True)
    data = changed(RECIPE, path, value) if path[0] != "sources" or len(path) == 1 else with_source(**{path[1]: value})
    _, problems = load(root, data)
    assert all(problem.place is not None and problem.code != "bad-value" for problem in problems)


def test_all_recipes_are_checked_although_the_settings_are_broken(root: Path) -> None:
    from runner import project
    from runner.diagnostics import Problems

    (root / "recipes/a.toml").write_text(tomli_w.dumps({**RECIPE, "workspace": "studo"}))
    (root / "recipes/b.toml").write_text(tomli_w.dumps({**RECIPE, "output": {}}))
    (root / "omixa.toml").write_text("x = 1\n" + tomli_w.dumps(SETTINGS))
    with pytest.raises(Problems) as caught:
        project.load(root, [])
    found = [(problem.place.path if problem.place else "", problem.code) for problem in caught.value.problems]
    assert found == [
        ("omixa.toml", "unknown-key"),
        ("recipes/a.toml", "unknown-workspace"),
        ("recipes/b.toml", "missing-key"),
    ]


def test_a_broken_shared_preset_is_reported_once_however_many_use_it(root: Path) -> None:
    from runner import project

    for name in ("a", "b"):
        (root / f"recipes/{name}.toml").write_text(tomli_w.dumps({**RECIPE, "output": {"folder": name}}))
    (root / "omixa.toml").write_text(tomli_w.dumps({**SETTINGS, "presets": {"photo": {"creativity": 3}}}))
    _, _, problems = project.load_all(root, [])
    assert [(problem.place.path if problem.place else "", problem.code) for problem in problems] == [
        ("omixa.toml", "out-of-range")
    ]


def test_a_misspelled_name_finds_the_recipes_own_and_the_shared_presets(root: Path) -> None:
    own = {"presets": {"soft": {}}}
    for name, meant in (("sotf", "soft"), ("pohto", "photo")):
        _, problems = load(root, {**with_source(preset=name), **own})
        assert [problem.label for problem in problems] == [f"did you mean `{meant}`?"]


def test_recipes_are_found_by_name_file_and_path(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from runner import project
    from runner.errors import UsageError

    for name in ("b", "a", "c"):
        (root / f"recipes/{name}.toml").write_text(tomli_w.dumps(RECIPE))
    paths = {name: root / f"recipes/{name}.toml" for name in "abc"}
    assert project.recipe_paths(root, []) == [paths["a"], paths["b"], paths["c"]]
    assert project.recipe_paths(root, ["c", "a.toml", "recipes/c.toml"]) == [paths["c"], paths["a"]]
    monkeypatch.chdir(root / "recipes")
    assert project.recipe_paths(root, ["./b.toml"]) == [paths["b"]]
    for name in ("d", "other/a.toml", "../a.toml", ""):
        with pytest.raises(UsageError, match="there is no recipe"):
            project.recipe_paths(root, [name])
    settings_made, recipes = project.load(root, ["b"])
    assert [one.name for one in recipes] == ["b"]
    assert settings_made.root == root


# --- limits of its own ----------------------------------------------------------------------------------------------


def many(count: int, value: Any) -> dict[str, Any]:
    return {f"n{number}": value for number in range(count)}


@pytest.mark.parametrize(
    ("change", "most"),
    [
        (lambda n: {"sources": [{"folder": "pictures", "prompt": "restore"}] * n}, 100),
        (lambda n: {"labels": many(n, "x")}, 100),
        (lambda n: {"presets": many(n, {"seed": 1})}, 100),
        (lambda n: {"prompts": {"restore": {"text": "x"}, **many(n - 1, {"text": "x"})}}, 100),
        (lambda n: {"sources": [{"folder": "pictures", "prompt": "restore", "include": ["*.png"] * n}]}, 100),
        (lambda n: {"sources": [{"folder": "pictures", "prompt": "restore", "exclude": ["*.png"] * n}]}, 100),
        (lambda n: {"sources": [{"folder": "pictures", "prompt": ["restore"] * n}]}, 100),
        (lambda n: {"sources": [{"folder": "pictures", "prompt": "restore", "preset": ["photo"] * n}]}, 100),
        (lambda n: {"allow": {"style_preset": ["retro"] * n}}, 100),
    ],
)
def test_there_may_be_as_many_as_anybody_writes_and_not_one_more(root: Path, change: Any, most: int) -> None:
    explicit = {**RECIPE, "sources": [{"folder": "pictures", "prompt": "restore"}]}
    assert "too-many-items" not in [problem.code for problem in load(root, {**explicit, **change(most)})[1]]
    made, problems = load(root, {**explicit, **change(most + 1)})
    assert made is None
    assert [problem.code for problem in problems] == ["too-many-items"]
    assert problems[0].place is not None
    assert problems[0].place.line is not None
    assert f"has {most + 1} items, more than {most}" in problems[0].message


@pytest.mark.parametrize(("length", "codes"), [(1000, []), (1001, ["bad-pattern"])])
def test_a_pattern_has_at_most_1000_characters(root: Path, length: int, codes: list[str]) -> None:
    _, problems = load(root, with_source(include=["*" * length]))
    assert [problem.code for problem in problems] == codes


@pytest.mark.parametrize(("length", "codes"), [(500, []), (501, ["unsafe-output-name"])])
def test_the_name_of_results_has_at_most_500_characters(root: Path, length: int, codes: list[str]) -> None:
    _, problems = load(root, {**RECIPE, "output": {"folder": "out", "name": "x" * length}})
    assert [problem.code for problem in problems] == codes


def test_a_recipe_is_no_way_to_read_other_files_of_this_machine(root: Path) -> None:
    declared, _ = settings.load(root)
    assert declared is not None
    (root / "secret").mkdir()
    outside = root.parent / f"{root.name}-outside.toml"
    outside.write_text("password = hunter2")
    link = root / "recipes/link.toml"
    link.symlink_to(outside)
    made, problems = recipe.load(link, declared)
    assert made is None
    assert [problem.code for problem in problems] == ["outside-project"]
    assert "hunter2" not in str(problems)
    link.unlink()
    (root / "recipes/own.toml").write_text(tomli_w.dumps(RECIPE))
    link.symlink_to("own.toml")
    assert recipe.load(link, declared)[1] == []


def test_a_named_pipe_is_refused_and_not_waited_for(root: Path) -> None:
    os.mkfifo(root / "recipes/pipe.toml")
    os.mkfifo(root / "prompts/pipe.txt")
    declared, _ = settings.load(root)
    assert declared is not None
    _, problems = recipe.load(root / "recipes/pipe.toml", declared)
    assert [problem.message for problem in problems] == ["`recipes/pipe.toml` is not a file"]
    _, problems = load(root, {**RECIPE, "prompts": {"restore": {"file": "prompts/pipe.txt"}}})
    assert [problem.message for problem in problems] == ["`prompts/pipe.txt` is not a file"]


@pytest.mark.parametrize("count", [1000, 1001])
def test_a_project_has_at_most_a_thousand_recipes(root: Path, count: int) -> None:
    from runner import project
    from runner.errors import UsageError

    for number in range(count):
        (root / f"recipes/r{number}.toml").touch()
    if count > 1000:
        with pytest.raises(UsageError, match="more than 1000 recipes"):
            project.recipe_paths(root, [])
    else:
        assert len(project.recipe_paths(root, [])) == 1000


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"[prompts.n{n}]\ntext='x'\nnegatve='y'\n" for n in range(3_000)),
        "".join(f"[[sources]]\nfolder='pictures'\nprompt='n{n}'\n" for n in range(3_000)),
        "[labels]\n" + "".join(f"n{n} = 1\n" for n in range(9_000)),
        "".join(f"unknown{n} = 1\n" for n in range(9_000)),
        "[prompts." + '"' + "x" * 300_000 + '"]\n' + "sources = [{prompt = '" + "y" * 300_000 + "'}]",
        "[[sources]]\nfolder='pictures'\ninclude=['" + "*a" * 200_000 + "']\n",
        "[schedule]\ncron = '" + "*/1," * 100_000 + "* * * *'\n",
        "[prompts.p]\ntext = '" + "{" * 500_000 + "'\n",
        "[prompts.p]\ntext = '" + "{file:x}" * 50_000 + "'\n",
        "[output]\nname = '" + "{x}" * 100_000 + "'\n",
    ],
    ids=["prompts", "sources", "labels", "keys", "long-names", "glob", "cron", "braces", "includes", "placeholders"],
)
def test_no_recipe_within_the_limits_of_a_file_keeps_the_checker_busy(root: Path, text: str) -> None:
    """Each of these took from seconds to hours. What ends them is a count of steps, so no clock is needed here."""
    path = root / "recipes/one.toml"
    path.write_text(text)
    declared, _ = settings.load(root)
    assert declared is not None
    made, problems = recipe.load(path, declared)
    assert made is None
    assert 0 < len(problems) <= 101


def test_a_name_of_a_megabyte_is_compared_with_nothing() -> None:
    from runner.diagnostics import did_you_mean

    assert did_you_mean("x" * 201, ["x" * 200]) is None
    assert did_you_mean("x" * 199, ["x" * 200]) == "x" * 200
    assert did_you_mean("x" * 200, ["x" * 201]) is None
    assert did_you_mean("right", [*("far" for _ in range(1000)), "rigth"]) is None
