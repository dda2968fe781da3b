"""`omixa schema` and `omixa models`: what editors and people are told is what the checks do."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from runner import project
from runner.cli import main
from runner.commands.schema import KINDS, schema, schema_text
from runner.contracts import CONTRACTS

REPOSITORY = Path(__file__).parent.parent


@pytest.mark.parametrize("kind", KINDS)
def test_the_schema_in_the_repository_is_the_programs(kind: str) -> None:
    """With the models of the repository's own contract files, as `omixa schema` writes it there."""
    kept = REPOSITORY / f"docs/schema/{'omixa' if kind == 'settings' else kind}.schema.json"
    made = schema_text(kind, project.contracts(str(REPOSITORY)))
    assert kept.read_text(encoding="utf-8") == made, f"run: omixa schema {kind} --out {kept}"


def test_the_schema_is_written_to_stdout_or_to_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # no project: the models of the package
    assert main(["schema"]) == 0
    assert capsys.readouterr().out == schema_text("recipe")
    assert main(["schema", "settings", "--out", str(tmp_path / "x.json")]) == 0
    assert (tmp_path / "x.json").read_text(encoding="utf-8") == schema_text("settings")
    assert main(["schema", "--out", str(tmp_path / "no/x.json")]) == 7


def tables(node: Any) -> list[dict[str, Any]]:
    """Every schema of a table inside a schema."""
    if isinstance(node, list):
        return [found for item in node for found in tables(item)]
    if not isinstance(node, dict):
        return []
    # Under `allOf` stand rules about a table that is described where they are.
    inner = [found for key, value in node.items() if key != "allOf" for found in tables(value)]
    return [node, *inner] if "properties" in node and isinstance(node["properties"], dict) else inner


@pytest.mark.parametrize("kind", ["recipe", "settings", "contract"])
def test_every_table_is_closed_and_every_key_described(kind: str) -> None:
    text = schema_text(kind)
    assert "$ref" not in text
    assert '"null"' not in text
    found = tables(schema(kind))
    assert len(found) >= (3 if kind == "contract" else 6)
    for table in found:
        assert table["additionalProperties"] is False
        for name, key in table["properties"].items():
            assert key.get("description"), f"{name} has no description"


def test_the_options_of_a_preset_are_those_of_the_contract_with_its_limits() -> None:
    options = schema("recipe")["properties"]["presets"]["additionalProperties"]["properties"]
    assert set(options) == {"creativity", "style_preset", "seed"}
    assert (options["creativity"]["minimum"], options["creativity"]["maximum"]) == (0.1, 0.5)
    assert options["seed"]["maximum"] == 4294967294
    assert len(options["style_preset"]["anyOf"][0]["enum"]) == 17


def test_money_is_text_in_the_schema() -> None:
    run = schema("recipe")["properties"]["budget"]["properties"]["run"]
    assert run["type"] == "string"
    assert re.fullmatch(run["pattern"], "2.00")
    assert not re.fullmatch(run["pattern"], "2,00")
    assert schema("settings")["properties"]["sandbox"]["properties"]["price"]["default"] == "0.039"


@pytest.mark.parametrize(("kind", "page"), [("recipe", "recipes"), ("settings", "recipes"), ("contract", "models")])
def test_the_reference_names_every_key(kind: str, page: str) -> None:
    reference = (REPOSITORY / f"docs/{page}.md").read_text(encoding="utf-8")
    for table in tables(schema(kind)):
        for name in table["properties"]:
            assert f"`{name}`" in reference or f"[{name}" in reference or f"{name}." in reference, name


def test_the_examples_of_the_reference_are_valid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reference = (REPOSITORY / "docs/recipes.md").read_text(encoding="utf-8")
    examples = re.findall(r"```toml\n(.*?)```", reference, re.DOTALL)
    settings_text = next(text for text in examples if "[workspaces" in text)
    recipe_text = next(text for text in examples if "[[sources]]" in text)
    assert tomllib.loads(recipe_text)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "pictures/scans").mkdir(parents=True)
    (tmp_path / "omixa.toml").write_text(settings_text)
    (tmp_path / "recipes/restore-scans.toml").write_text(recipe_text)
    assert main(["--project", str(tmp_path), "check"]) == 0
    assert capsys.readouterr().out == "1 recipe, 0 problems\n"


def test_models_show_every_field_with_its_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    text = capsys.readouterr().out
    for contract in CONTRACTS.values():
        for field in contract.fields:
            line = next(line for line in text.splitlines() if line.startswith(field.name))
            assert field.source in line
    assert "4096 to 1048576 pixels" in text


def test_models_as_json_are_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "stability-upscale-creative", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "omixa.models/1"
    fields = {field["name"]: field for field in found["models"][0]["fields"]}
    assert (fields["creativity"]["minimum"], fields["creativity"]["maximum"]) == (0.1, 0.5)
    assert fields["creativity"]["default"] == 0.3
    assert fields["prompt"]["length_max"] == 10_000
    assert found["models"][0]["pictures"]["pixels_max"] == 1_048_576


def test_an_unknown_model_is_answered_with_the_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "stability-upscale"]) == 2
    assert "did you mean `stability-upscale-creative`?" in capsys.readouterr().err
