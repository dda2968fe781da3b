"""`omixa schema`: the JSON Schema of omixa.toml, recipes and contracts, for editors (`#:schema`), and of JSON reports.

In a project, recipes and omixa.toml may name the models of its contract files, and the schema knows them.
"""

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.contracts.contract import Contract

KINDS = ("recipe", "settings", "contract", "report", "diff")


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("kind", nargs="?", choices=KINDS, default="recipe", help="of what (default: recipe)")
    parser.add_argument("--out", metavar="FILE", help="write it to a file instead of stdout")


def run(*, project: str | None, kind: str, out: str | None, **_: object) -> int:
    """Write the schema; needs no project. Raises Problems with what is wrong in the project's contract files."""
    from runner.errors import DiskError, ExitCode
    from runner.project import contracts

    text = schema_text(kind, contracts(project) if kind in ("recipe", "settings") else None)
    if out is None:
        print(text, end="")
        return int(ExitCode.OK)
    from pathlib import Path

    try:
        Path(out).write_text(text, encoding="utf-8")
    except OSError as error:
        raise DiskError(f"`{out}` cannot be written: {error.strerror or error}") from None
    return int(ExitCode.OK)


def schema_text(kind: str, contracts: "Mapping[str, Contract] | None" = None) -> str:
    """The schema as a file: one of KINDS. `contracts` None: the models that the package knows."""
    import json

    return json.dumps(schema(kind, contracts), indent=2, ensure_ascii=False) + "\n"


def schema(kind: str, contracts: "Mapping[str, Contract] | None" = None) -> dict[str, Any]:
    """JSON Schema draft-07 without references: the one that all TOML editors read alike."""
    if kind == "report":
        from runner.reports.schema import schema as of_report

        return of_report()
    if kind == "diff":
        from runner.commands.diff_schema import schema as of_diff

        return of_diff()
    from pydantic import BaseModel

    from runner.contract_file import ContractFile
    from runner.contracts import CONTRACTS
    from runner.recipe_tables import RecipeFile
    from runner.settings_tables import SettingsFile

    models: dict[str, tuple[str, type[BaseModel]]] = {
        "recipe": ("A recipe of omixa: what may be bought", RecipeFile),
        "settings": ("omixa.toml: the operator's facts", SettingsFile),
        "contract": ("A contract of omixa: what a model accepts", ContractFile),
    }
    title, model = models[kind]
    made = model.model_json_schema()
    tables = made.pop("$defs", {})
    plain: dict[str, Any] = _plain(made, tables)
    found = {"$schema": "http://json-schema.org/draft-07/schema#", **plain, "title": title}
    if kind in ("recipe", "settings"):
        _fit(found, contracts or CONTRACTS)
    return found


def _fit(found: dict[str, Any], contracts: "Mapping[str, Contract]") -> None:
    """Make the schema of omixa.toml or a recipe one for these models: their names, their options, what they need."""
    from pydantic.json_schema import GenerateJsonSchema

    from runner.settings_tables import presets_schema

    keys = found["properties"]
    preset = keys["presets"]["additionalProperties"]
    keys["presets"]["additionalProperties"] = preset | GenerateJsonSchema().sort(presets_schema(contracts.values()))
    if "model" not in keys:
        workspace = keys["workspaces"]["additionalProperties"]["properties"]
        workspace["ceilings"]["propertyNames"] = {"enum": sorted(contracts)}
        return
    step = keys["steps"]["items"]["properties"]
    keys["model"]["enum"] = step["model"]["enum"] = [*contracts]
    needs = {
        "sources": [model for model, contract in contracts.items() if contract.pictures is not None],
        "prompts": [model for model, contract in contracts.items() if contract.needs_prompt],
    }
    cases: list[dict[str, Any]] = []
    for key, models in needs.items():
        if len(models) < len(contracts):
            found["required"].remove(key)
            # Where no model is named, the condition holds for any.
            condition = {"properties": {"model": {"enum": models}}, "not": {"required": ["steps"]}}
            cases.append({"if": condition, "then": {"required": [key]}})
    # A recipe of several steps has at its top what they share, and the rest in each of them.
    of_one = [key for key in ("model", "sources", "prompts", "output") if key in found["required"]]
    found["required"] = [key for key in found["required"] if key not in of_one]
    cases.append(
        {
            "if": {"required": ["steps"]},
            "then": {"properties": dict.fromkeys(("model", "sources", "output", "preset"), False)},
            "else": {"required": of_one},
        }
    )
    found["allOf"] = cases


def _plain(node: Any, tables: dict[str, Any]) -> Any:
    """The schema with every table in its place, and without what only Python needs."""
    if isinstance(node, list):
        return [_plain(item, tables) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        # What stands beside a reference says more than what it refers to.
        rest = {key: value for key, value in node.items() if key != "$ref"}
        return _plain({**tables[node["$ref"].rpartition("/")[2]], **rest}, tables)
    if "anyOf" in node:
        # Nothing in TOML is null; a key is left out instead.
        options = [option for option in node["anyOf"] if option != {"type": "null"}]
        rest = {key: value for key, value in node.items() if key != "anyOf"}
        node = {**options[0], **rest} if len(options) == 1 else {"anyOf": options, **rest}
        if "$ref" in node:
            return _plain(node, tables)
    kept = {key: value for key, value in node.items() if not _is_noise(key, value)}
    return {
        key: _properties(value, tables) if key == "properties" else _plain(value, tables) for key, value in kept.items()
    }


def _properties(properties: dict[str, Any], tables: dict[str, Any]) -> dict[str, Any]:
    """The keys of a table. Apart from `_plain`, because a key may be called `title` or `default`."""
    return {name: _plain(value, tables) for name, value in properties.items()}


def _is_noise(key: str, value: Any) -> bool:
    """Titles made from names, and defaults that only say that a table can be left out."""
    return key == "title" or (key == "default" and (value is None or isinstance(value, dict)))
