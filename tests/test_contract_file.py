"""A contract file → Contract, or every Problem in it. What problems look like is in tests/problems."""

import json
import re
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import tomli_w
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from runner import contract_file, known_models, project, settings
from runner.cli import main
from runner.commands.schema import schema
from runner.contracts import CONTRACTS
from runner.contracts.contract import PictureLimits
from tests.test_recipe import RECIPE, SETTINGS
from tests.test_settings import VALUES, changed

HOUSE = Path(__file__).parent.parent


def row(field: str, kind: str, accepted: Any = None, *, required: bool = False, **more: Any) -> dict[str, Any]:
    columns = {"field": field, "type": kind, "required": required, "description": "What it is for."}
    return columns | ({} if accepted is None else {"accepted": accepted}) | more


FORMAT = row("output_format", "string", ["png", "webp"])
PICTURE = row("input_images", "array", required=True)
PROMPT = row("prompt", "string", "1-100 characters", required=True)
DRAW: dict[str, Any] = {
    "model": "draw",
    "operation": "prompt-to-image",
    "title": "Draw",
    "source": "model page, 27 Nov 2026",
    "fields": [PROMPT, FORMAT],
}
EDIT: dict[str, Any] = {**DRAW, "model": "edit", "operation": "image-editing", "fields": [PICTURE, FORMAT]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "omixa.toml").write_text(tomli_w.dumps(SETTINGS))
    for folder in ("recipes", "contracts", "pictures"):
        (tmp_path / folder).mkdir()
    return tmp_path


def put(root: Path, data: dict[str, Any], name: str = "one") -> Path:
    path = root / "contracts" / f"{name}.toml"
    path.write_text(tomli_w.dumps(data), encoding="utf-8")
    return path


def codes(root: Path, data: dict[str, Any]) -> list[str]:
    _, contract, problems = contract_file.load(put(root, data), root)
    assert (contract is None) == bool(problems)
    assert all(problem.place is not None and problem.place.path == "contracts/one.toml" for problem in problems)
    return [problem.code for problem in problems]


def with_rows(*rows: dict[str, Any], base: dict[str, Any] = DRAW) -> dict[str, Any]:
    return {**base, "fields": [*base["fields"], *rows]}


# --- what is read ---------------------------------------------------------------------------------------------------


def test_a_file_says_what_a_model_page_says(root: Path) -> None:
    rows = [
        row("strength", "number", "-1-0.5", default=Decimal("0.25")),
        row("steps", "integer", "1 – 50", required=True),
        row("aspect_ratio", "string", ["1:1", "16:9"], default="1:1"),
        row("negative_prompt", "string", "up to 100 characters"),
    ]
    limits = {"formats": ["png", "webp"], "side_px_min": 64, "pixels_min": 100, "pixels_max": 5000}
    data = {**with_rows(*rows, base=EDIT), "pictures": limits, "summary": "Edits."}
    name, made, problems = contract_file.load(put(root, data), root)
    assert (name, problems) == ("edit", [])
    assert made is not None
    assert (made.model, made.title, made.summary, made.operation) == ("edit", "Draw", "Edits.", "image-editing")
    assert made.file == "contracts/one.toml"
    assert made.pictures == PictureLimits(
        1, ("image/png", "image/webp"), 64, 100, 5000, 10_485_760, "model page, 27 Nov 2026"
    )
    assert [field.name for field in made.fields] == ["model", *(one["field"] for one in data["fields"])]
    strength, steps, ratio, negative = made.fields[3:]
    assert (strength.minimum, strength.maximum, strength.default) == (-1, Decimal("0.5"), Decimal("0.25"))
    assert (steps.minimum, steps.maximum, steps.required, steps.kind) == (1, 50, True, "integer")
    assert (ratio.kind, ratio.choices, ratio.choices_may_grow) == ("choice", ("1:1", "16:9"), False)
    assert (negative.length_min, negative.length_max) == (0, 100)
    assert all(field.source == "model page, 27 Nov 2026" for field in made.fields)


def test_what_models_prints_can_be_written_in_a_file(root: Path) -> None:
    built_in = CONTRACTS["stability-upscale-creative"]
    kinds = {"choice": "string", "pictures": "array"}
    rows = [
        row(
            field.name,
            kinds.get(field.kind, field.kind),
            None if field.kind == "pictures" else list(field.choices) or field.accepts(),
            required=field.required,
        )
        | ({} if field.default is None else {"default": field.default})
        for field in built_in.fields[1:]
    ]
    data = {**EDIT, "operation": "upscaling", "fields": rows}
    _, made, problems = contract_file.load(put(root, data), root)
    assert problems == []
    assert made is not None
    for ours, theirs in zip(made.fields[1:], built_in.fields[1:], strict=True):
        assert (ours.name, ours.kind, ours.accepts()) == (theirs.name, theirs.kind, theirs.accepts())


def test_without_a_folder_there_are_the_models_of_the_package(tmp_path: Path) -> None:
    assert known_models.load_all(tmp_path) == (dict(CONTRACTS), [])


def test_a_file_that_leads_out_of_the_project_is_not_read(root: Path) -> None:
    outside = root.parent / "outside.toml"
    outside.write_text(tomli_w.dumps(DRAW))
    (root / "contracts/one.toml").symlink_to(outside)
    _, problems = known_models.load_all(root)
    assert [problem.message for problem in problems] == [
        "`contracts/one.toml` is a link to a file outside the project, so it is not read"
    ]


def test_there_may_be_a_hundred_files_and_not_one_more(root: Path) -> None:
    for number in range(101):
        put(root, {**DRAW, "model": f"draw-{number}"}, f"{number:03}")
    known, problems = known_models.load_all(root)
    assert [problem.code for problem in problems] == ["too-many-files"]
    assert known == CONTRACTS
    (root / "contracts/000.toml").unlink()
    known, problems = known_models.load_all(root)
    assert (len(known), problems) == (101, [])


# --- rules, one inside and one outside ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (DRAW, []),
        (EDIT, []),
        ({**EDIT, "operation": "upscaling"}, []),
        ({**EDIT, "operation": "background-removal"}, []),
        ({**EDIT, "operation": "image-merging"}, ["unknown-choice"]),
        ({**DRAW, "operation": "upscaling"}, ["missing-field"]),
        ({**EDIT, "operation": "prompt-to-image"}, ["missing-field", "unexpected-field"]),
        ({**DRAW, "pictures": {}}, ["unexpected-table"]),
        ({**EDIT, "fields": [{**PICTURE, "required": False}, FORMAT]}, ["bad-required"]),
        ({**DRAW, "fields": [{**PROMPT, "required": False}, FORMAT]}, ["bad-required"]),
        ({**DRAW, "fields": [PROMPT]}, ["missing-field"]),
        ({**DRAW, "model": "a" * 64}, []),
        ({**DRAW, "model": "a" * 65}, ["bad-name"]),
        ({**DRAW, "model": "Draw"}, ["bad-name"]),
        ({**DRAW, "model": "stability-upscale-creative"}, ["model-twice"]),
        ({**DRAW, "url": "http://elsewhere.example/api"}, ["unknown-key"]),
        ({**DRAW, "title": " "}, ["bad-text"]),
        ({**DRAW, "title": "x" * 200, "source": "x" * 200, "summary": "x" * 2000}, []),
        ({**DRAW, "title": "x" * 201, "source": "x" * 201, "summary": "x" * 2001}, ["too-long"] * 3),
        ({**DRAW, "summary": "\x1b[2J"}, ["bad-text"]),
        ({**DRAW, "source": "ask omx_live_0123456789"}, ["key-in-file"]),
        ({**DRAW, "fields": [PROMPT, FORMAT, *(row(f"o{n}", "number", "0-1") for n in range(48))]}, []),
        ({**DRAW, "fields": [PROMPT, FORMAT, *(row(f"o{n}", "number", "0-1") for n in range(49))]}, ["too-many-items"]),
        (with_rows(row("steps", "integer", "1-50")), []),
        (with_rows(row("steps", "integer", "50-50")), []),
        (with_rows(row("steps", "integer", "51-50")), ["bad-accepted"]),
        (with_rows(row("steps", "integer", "1-5.5")), ["bad-accepted"]),
        (with_rows(row("steps", "integer", ["1", "2"])), ["bad-accepted"]),
        (with_rows(row("steps", "integer", 50)), ["bad-accepted"]),
        (with_rows(row("steps", "integer", "1-٥")), ["bad-accepted"]),
        (with_rows(row("steps", "integer")), ["missing-key"]),
        (with_rows(row("steps", "boolean", "1-2")), ["unknown-choice"]),
        (with_rows(row("Steps", "integer", "1-2")), ["bad-name"]),
        (with_rows(row("model", "string", ["draw"])), ["reserved-field"]),
        (with_rows(PROMPT), ["field-twice"]),
        (with_rows(row("mask", "array")), ["wrong-type"]),
        (
            with_rows(row("input_images", "string", "1-2 characters"), base={**EDIT, "fields": [FORMAT]}),
            ["wrong-type", "bad-required"],
        ),
        (with_rows(row("steps", "integer", "1-50", default=50)), []),
        (with_rows(row("steps", "integer", "1-50", default=51)), ["bad-default"]),
        (with_rows(row("steps", "integer", "1-50", default=Decimal("1.0"))), ["bad-default"]),
        (with_rows(row("look", "string", ["a", "b"], default="b")), []),
        (with_rows(row("look", "string", ["a", "b"], default="c")), ["bad-default"]),
        (with_rows(row("look", "string", [])), ["bad-accepted"]),
        (with_rows(row("look", "string", ["a", " "])), ["bad-accepted"]),
        (with_rows(row("look", "string", ["a", 1])), ["bad-accepted"]),
        (with_rows(row("look", "string", ["a"] * 200)), []),
        (with_rows(row("look", "string", ["a"] * 201)), ["too-many-items"]),
        (with_rows(row("seed", "integer", "0-1")), []),
        (with_rows(row("seed", "integer", "1-7")), []),
        (with_rows(row("seed", "integer", "2-7")), ["bad-accepted"]),
        (with_rows(row("seed", "integer", "0-0")), ["bad-accepted"]),
        (with_rows(row("seed", "number", "0-7")), ["bad-accepted"]),
        (with_rows(row("negative_prompt", "string", "up to 5 characters", required=True)), ["bad-required"]),
        (with_rows(row("negative_prompt", "string", ["a"])), ["bad-accepted"]),
        ({**DRAW, "fields": [{**PROMPT, "default": "x"}, FORMAT]}, ["unexpected-key"]),
        ({**DRAW, "fields": [PROMPT, {**FORMAT, "accepted": ["png", "gif"]}]}, ["bad-accepted"]),
        ({**DRAW, "fields": [PROMPT, {**FORMAT, "accepted": "1-4 characters"}]}, ["bad-accepted"]),
        ({**EDIT, "pictures": {"pixels_min": 9, "pixels_max": 9}}, []),
        ({**EDIT, "pictures": {"pixels_min": 10, "pixels_max": 9}}, ["bad-limits"]),
        ({**EDIT, "pictures": {"formats": ["jpeg"]}}, ["bad-limits"]),
        ({**EDIT, "pictures": {"formats": ["png", "jpg"]}}, ["unknown-choice"]),
        ({**EDIT, "pictures": {"request_bytes_max": 10_485_761}}, ["out-of-range"]),
    ],
)
def test_each_rule_inside_and_outside(data: dict[str, Any], expected: list[str], root: Path) -> None:
    assert sorted(codes(root, data)) == sorted(expected)


PATHS = [
    *[(key,) for key in (*EDIT, "summary", "pictures", "x")],
    *[("pictures", key) for key in ("formats", "side_px_min", "pixels_min", "pixels_max", "request_bytes_max", "x")],
    *[("row", key) for key in (*PROMPT, "default", "x")],
]


@hypothesis_settings(max_examples=400, deadline=None)
@given(path=st.sampled_from(PATHS), value=VALUES, kind=st.sampled_from(["string", "integer", "number", "array"]))
def test_any_value_anywhere_is_a_problem_with_a_place_or_none_at_all(
    tmp_path_factory: pytest.TempPathFactory, path: tuple[str, ...], value: Any, kind: str
) -> None:
    root = tmp_path_factory.getbasetemp() / "contracts-of-chance"
    (root / "contracts").mkdir(exist_ok=True, parents=True)
    data = changed({**EDIT, "row": row("steps", kind, "1-50")}, path, value)
    data["fields"] = [*data["fields"], data.pop("row")] if isinstance(data["fields"], list) else data["fields"]
    data.pop("row", None)
    _, contract, problems = contract_file.load(put(root, data), root)
    assert (contract is None) == bool(problems)
    assert all(problem.place is not None and problem.code != "bad-value" for problem in problems)


# --- the page --------------------------------------------------------------------------------------------------------


def test_every_example_of_the_page_is_true(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (HOUSE / "docs/models.md").read_text(encoding="utf-8")
    contract_text, ideas = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (root / "contracts/draw.toml").write_text(contract_text)
    (root / "recipes/ideas.toml").write_text(ideas)
    assert main(["--project", str(root), "check"]) == 0
    assert capsys.readouterr().out == "1 recipe, 0 problems\n"
    ((command, printed),) = re.findall(r"```console\n\$ (.*?)\n(.*?)```", page, re.DOTALL)
    assert main(["--project", str(root), *command.split()[1:]]) == 0
    assert capsys.readouterr().out == printed
    (root / "contracts/draw.toml").write_text(contract_text.replace("default = 0.3", "default = 0.8"))
    assert main(["--project", str(root), "check"]) == 2
    (shown,) = re.findall(r"```\n(error.*?)```", page, re.DOTALL)
    assert capsys.readouterr().err == f"{shown}\n1 recipe, 1 problem\n"


# --- everything else follows ----------------------------------------------------------------------------------------

IDEAS: dict[str, Any] = {
    "workspace": "studio",
    "model": "draw",
    "prompts": {"cat": {"text": "A cat."}, "dog": {"text": "A dog."}},
    "output": {"folder": "out"},
}


def problems_of(root: Path, *recipes: dict[str, Any]) -> list[tuple[str, str]]:
    for number, data in enumerate(recipes):
        (root / f"recipes/r{number}.toml").write_text(tomli_w.dumps(data))
    _, _, problems = project.load_all(root, [])
    return [(problem.place.path if problem.place else "", problem.code) for problem in problems]


def test_a_recipe_for_a_model_of_a_file_is_held_against_it(root: Path) -> None:
    assert problems_of(root, IDEAS) == [("recipes/r0.toml", "unknown-model")]
    put(root, with_rows(row("steps", "integer", "1-50")))
    assert problems_of(root, IDEAS) == []
    assert problems_of(root, {**IDEAS, "preset": "a", "presets": {"a": {"steps": 50}}}) == []
    assert problems_of(root, {**IDEAS, "preset": "a", "presets": {"a": {"steps": 51}}}) == [
        ("recipes/r0.toml", "out-of-range")
    ]
    assert problems_of(root, {**IDEAS, "preset": "photo"}) == [("recipes/r0.toml", "preset-misfit")]


def test_a_broken_contract_makes_no_problems_beyond_its_own(root: Path) -> None:
    ceilings = {"workspaces": {"studio": {**SETTINGS["workspaces"]["studio"], "ceilings": {"draw": "0.10"}}}}
    shared = {"presets": {**SETTINGS["presets"], "steps": {"steps": 7}}}
    (root / "omixa.toml").write_text(tomli_w.dumps({**SETTINGS, **ceilings, **shared}))
    put(root, {**DRAW, "operation": "drawing"}, "draw")
    expected = [("contracts/draw.toml", "unknown-choice")]
    assert (
        problems_of(root, {**IDEAS, "sources": [{"folder": "pictures", "prompt": "cat", "preset": "steps"}]})
        == expected
    )
    assert problems_of(root, {**IDEAS, "preset": "steps"}) == expected
    # Not even where nothing can be read: then the file's own name is taken for the model's.
    (root / "contracts/draw.toml").write_text("model = ")
    assert [path for path, _ in problems_of(root)] == ["contracts/draw.toml"]


def test_a_model_without_a_prompt_needs_none_and_takes_none(root: Path) -> None:
    put(root, EDIT)
    shop = {"workspace": "studio", "model": "edit", "sources": [{"folder": "pictures"}], "output": {"folder": "out"}}
    assert problems_of(root, shop) == []
    assert problems_of(root, {**shop, "prompts": {"a": {"text": "x"}}}) == [("recipes/r0.toml", "unknown-option")]
    put(root, with_rows({**PROMPT, "required": False}, base=EDIT))
    assert problems_of(root, shop) == []
    assert problems_of(root, {**shop, "prompts": {"a": {"text": "x"}}}) == []


def test_a_model_without_a_source_is_bought_once_for_each_prompt_and_preset(root: Path) -> None:
    put(root, with_rows(row("steps", "integer", "1-50")))
    data = {**IDEAS, "preset": ["a", "b"], "presets": {"a": {"steps": 1}, "b": {"steps": 2}}}
    (root / "recipes/r0.toml").write_text(tomli_w.dumps(data))
    declared, (made,) = project.load(root, [])
    from runner import items

    wanted, problems = items.expand(made, declared)
    # Called after their prompts: both presets would be written to one path, and the message says what is missing.
    assert [(one.source, one.prompt, one.preset) for one in wanted] == [
        (None, prompt, preset) for prompt in ("cat", "dog") for preset in ("a", "b")
    ]
    assert [problem.hint for problem in problems] == ["add `{preset}` to `name` in `[output]`"] * 2
    assert "one with preset `a` and one with preset `b`" in problems[0].message
    data["output"] = {"folder": "out", "name": "{prompt}-{preset}"}
    (root / "recipes/r0.toml").write_text(tomli_w.dumps(data))
    declared, (made,) = project.load(root, [])
    wanted, problems = items.expand(made, declared)
    assert problems == []
    assert [one.output.name for one in wanted] == ["cat-a.png", "cat-b.png", "dog-a.png", "dog-b.png"]


def test_each_prompt_and_each_option_is_an_item_of_its_own_without_a_source(root: Path) -> None:
    from runner import drafts, items

    def keys(**changes: Any) -> list[str | None]:
        (root / "recipes/r0.toml").write_text(tomli_w.dumps({**IDEAS, **changes}))
        declared, (made,) = project.load(root, [])
        return [one.key for one in drafts.draft(made, items.expand(made, declared)[0], root)]

    put(root, with_rows(row("steps", "integer", "1-50", default=7)))
    found = keys()
    assert len({*found, *keys(preset="a", presets={"a": {"steps": 8}})} - {None}) == 4
    # The default written out is the same picture, and so is the same prompt by another name.
    assert keys(preset="a", presets={"a": {"steps": 7}}) == found
    assert keys(prompts={"kitten": {"text": "A cat."}, "dog": {"text": "A dog."}}) == found


def test_an_allowed_style_is_allowed_for_styles_only(root: Path) -> None:
    put(root, with_rows(row("quality", "string", ["low", "high"])))
    data = {**IDEAS, "preset": "a", "presets": {"a": {"quality": "ultra"}}, "allow": {"style_preset": ["ultra"]}}
    assert problems_of(root, data) == [("recipes/r0.toml", "unknown-choice")]


def test_schemas_know_the_models_of_the_project() -> None:
    contracts = project.contracts(str(HOUSE))
    of_recipes = jsonschema.Draft7Validator(schema("recipe", contracts))
    for path in sorted((HOUSE / "recipes").glob("*.toml")):
        assert list(of_recipes.iter_errors(tomllib.loads(path.read_text()))) == []
    ideas = tomllib.loads((HOUSE / "recipes/poster-ideas.toml").read_text())
    assert list(of_recipes.iter_errors({**ideas, "model": "stability-upscale-creative"}))  # has no [[sources]]
    assert list(of_recipes.iter_errors({**ideas, "presets": {"wide": {"aspect_ratio": "17:9"}}}))
    # Without the project, its models are not known.
    assert list(jsonschema.Draft7Validator(schema("recipe")).iter_errors(ideas))
    of_settings = jsonschema.Draft7Validator(schema("settings", contracts))
    assert list(of_settings.iter_errors(tomllib.loads((HOUSE / "omixa.toml").read_text()))) == []
    of_contracts = jsonschema.Draft7Validator(schema("contract"))
    for path in sorted((HOUSE / "contracts").glob("*.toml")):
        data = tomllib.loads(path.read_text())
        assert list(of_contracts.iter_errors(data)) == []
        assert list(of_contracts.iter_errors({**data, "operation": "merging"}))


def test_what_two_models_take_differently_may_be_either_in_the_schema(root: Path) -> None:
    put(root, with_rows(row("creativity", "number", "1-9")))
    found = jsonschema.Draft7Validator(schema("recipe", project.contracts(str(root))))
    for value, fits in ((0.3, True), (7, True), (0.7, False)):
        assert (not list(found.iter_errors({**RECIPE, "presets": {"a": {"creativity": value}}}))) == fits


def test_models_shows_those_of_the_project_and_where_they_stand(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(root, DRAW)
    assert main(["--project", str(root), "models"]) == 0
    out = capsys.readouterr().out
    assert "stability-upscale-creative: Stability Creative Upscale (upscaling, built in)" in out
    assert "draw: Draw (prompt-to-image, declared in contracts/one.toml)" in out
    assert "no source picture: one picture for each prompt × preset of a recipe" in out
    assert main(["--project", str(root), "models", "draw", "--json"]) == 0
    (model,) = json.loads(capsys.readouterr().out)["models"]
    assert (model["file"], model["pictures"], model["operation"]) == ("contracts/one.toml", None, "prompt-to-image")
    put(root, {**DRAW, "title": 7})
    for words in (("models",), ("schema",), ("sandbox", "--port", "0")):
        assert main(["--project", str(root), *words]) == 2
        assert "contracts/one.toml:" in capsys.readouterr().err
    # Whoever mends the file may need its schema for that.
    assert main(["--project", str(root), "schema", "contract"]) == 0


def test_names_of_settings_without_files_are_those_of_the_package(root: Path) -> None:
    declared, problems = settings.load(root)
    assert problems == []
    assert declared is not None
    assert declared.contracts == CONTRACTS
