"""What editors say by the schema is what `omixa check` says: taplo and tombi, on every file that is sound or broken."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from runner import project
from runner.cli import main
from runner.commands.schema import schema, schema_text
from runner.slots import interval_s
from tests.test_check import CASES

REPOSITORY = Path(__file__).parents[2]
PROBLEMS = REPOSITORY / "tests/problems"
BIN = Path(sys.executable).parent
# Neither asks the network: no catalogue, and the schema is the file that `#:schema` names.
EDITORS = {
    "taplo": ["check", "--no-auto-config"],
    "tombi": ["lint", "--offline", "--quiet"],
}
# Cases that an editor does not see. docs/editors.md says why, by the same groups.
UNSEEN = {
    "the disk": {
        *("folder-is-a-file", "folder-missing", "placeholder-unknown-in-file", "prompt-circular"),
        *("prompt-file-missing", "prompt-file-outside", "prompt-file-too-long"),
    },
    "the pictures": {
        *("output-is-source", "output-over-source", "same-picture-twice", "steps-one-output", "two-formats-one-output"),
        *("two-presets-one-output", "two-prompts-and-presets-one-output", "two-recipes-one-output"),
        "two-sources-one-output",
    },
    "another place": {
        *("jitter-as-long-as-interval", "policy-broken", "preset-unknown", "prompt-not-named", "prompt-unknown"),
        *("settings-invoice-workspace", "settings-plaintext", "steps-transparent-jpeg", "workspace-unknown"),
    },
    "the inside of a text": {
        *("key-in-recipe", "negative-too-long", "output-name-placeholder", "output-name-traversal"),
        *("placeholder-unknown", "prompt-too-long"),
    },
    "the name of the file": {"Bad Name"},
    "a list that is not closed": {"settings-time-zone", "style-misspelled"},
}
ALL_UNSEEN = {case for cases in UNSEEN.values() for case in cases}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the schemas, in which no editor finds settings of its own."""
    folder = tmp_path_factory.mktemp("editors")
    contracts = project.contracts(str(REPOSITORY))
    for kind in ("recipe", "settings", "contract"):
        (folder / f"{kind}.schema.json").write_text(schema_text(kind, contracts), encoding="utf-8")
    (folder / "tombi.toml").write_text("")
    return folder


def accepts(editor: str, path: Path) -> bool:
    done = subprocess.run([BIN / editor, *EDITORS[editor], path], cwd=path.parent, capture_output=True, timeout=60)
    return done.returncode == 0


def put(path: Path, name: str, place: Path) -> Path:
    """A copy of a file whose first line names the schema."""
    kind = "settings" if path.name == "omixa.toml" else "contract" if path.parent.name == "contracts" else "recipe"
    line = f"#:schema {kind}.schema.json\n".encode()
    (place / name).write_bytes(line + re.sub(rb"\A#:schema[^\n]*\n", b"", path.read_bytes()))
    return place / name


@pytest.mark.parametrize("editor", EDITORS)
# A project with contract files has schemas of its own, by which its recipes are judged.
@pytest.mark.parametrize("case", [case for case in CASES if not case.startswith("contract-")])
def test_an_editor_flags_what_check_flags(editor: str, case: str, place: Path) -> None:
    folder = PROBLEMS / case
    files = sorted(folder.rglob("*.toml")) if folder.is_dir() else [PROBLEMS / f"{case}.toml"]
    if not files:
        pytest.skip("nothing of this case is TOML")
    accepted = [accepts(editor, put(path, f"{editor}-{case}-{path.name}", place)) for path in files]
    assert all(accepted) == (case in ALL_UNSEEN)


def test_enough_is_seen() -> None:
    assert ALL_UNSEEN.issubset(CASES)
    assert len(CASES) - len(ALL_UNSEEN) >= 45


def sound() -> list[Path]:
    found = [REPOSITORY / "omixa.toml", *REPOSITORY.glob("recipes/*.toml"), *REPOSITORY.glob("contracts/*.toml")]
    found += PROBLEMS.glob("_project/*.toml")
    return [*found, *REPOSITORY.glob("runner/scaffold/**/*.toml")]


@pytest.mark.parametrize("editor", EDITORS)
@pytest.mark.parametrize("path", sound(), ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_an_editor_accepts_what_check_accepts(editor: str, path: Path, place: Path) -> None:
    assert accepts(editor, put(path, f"{editor}-sound-{path.name}", place))


@pytest.mark.parametrize("editor", EDITORS)
def test_the_files_of_this_repository_name_a_schema_that_is_there(editor: str, tmp_path: Path) -> None:
    for name in ("omixa.toml", "recipes", "contracts", "docs/schema"):
        copy = shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copy
        (tmp_path / name).parent.mkdir(exist_ok=True)
        copy(REPOSITORY / name, tmp_path / name)
    (tmp_path / "tombi.toml").write_text("")
    files = [tmp_path / "omixa.toml", *tmp_path.glob("recipes/*.toml"), *tmp_path.glob("contracts/*.toml")]
    assert all(accepts(editor, path) for path in files)
    for path in files:
        path.write_text(path.read_text() + "[unheard-of]\n")
    assert not any(accepts(editor, path) for path in files)


@pytest.mark.parametrize("editor", EDITORS)
def test_a_new_project_is_known_to_an_editor_at_once(editor: str, tmp_path: Path) -> None:
    assert main(["init", str(tmp_path / "new")]) == 0
    (tmp_path / "new/tombi.toml").write_text("")
    for path in (tmp_path / "new/omixa.toml", tmp_path / "new/recipes/first.toml"):
        assert accepts(editor, path)
        path.write_text(path.read_text() + "[unheard-of]\n")
        assert not accepts(editor, path)


def test_the_pattern_of_an_interval_is_the_check(place: Path) -> None:
    pattern = schema("recipe")["properties"]["schedule"]["properties"]["every"]["pattern"]
    texts = [f"{number}{unit}" for unit in "mhds" for number in range(10_200)] + ["", "m", "01m", "1 m", "-1m", "1.5h"]
    differ = [text for text in texts if bool(re.fullmatch(pattern, text)) != (interval_s(text) is not None)]
    assert differ == []


WORKSPACES = [
    ({"endpoint": "sandbox", "budget": {"day": "1"}}, True),
    ({"endpoint": "omixa", "budget": {"day": "1"}}, False),
    ({"endpoint": "omixa", "budget": {"day": "1"}, "api_key": {"env": "K"}}, True),
    ({"endpoint": "sandbox"}, False),
    ({"endpoint": "sandbox", "unlimited": False}, False),
    ({"endpoint": "sandbox", "unlimited": True}, True),
    ({"endpoint": "sandbox", "unlimited": True, "budget": {}}, True),
    ({"endpoint": "sandbox", "unlimited": True, "budget": {"day": "1"}}, False),
    ({"endpoint": "sandbox", "unlimited": False, "budget": {"day": "1"}}, True),
]


@pytest.mark.parametrize(("table", "sound"), WORKSPACES)
def test_what_a_workspace_needs_is_the_same_to_both(table: dict[str, object], sound: bool, tmp_path: Path) -> None:
    import tomli_w

    full = {
        "workspaces": {"studio": {"currency": "USD", "time_zone": "UTC", **table}},
        "endpoints": {"omixa": {"url": "https://omixa.cloud"}},
    }
    assert jsonschema.Draft7Validator(schema("settings")).is_valid(full) == sound
    (tmp_path / "omixa.toml").write_text(tomli_w.dumps(full))
    assert (main(["--project", str(tmp_path), "check"]) == 0) == sound


def test_every_table_of_the_schema_says_what_it_is_with_defaults_and_examples() -> None:
    for kind in ("recipe", "settings"):
        jsonschema.Draft7Validator.check_schema(schema(kind))
        text = json.dumps(schema(kind))
        assert text.count('"examples"') >= 5
        assert text.count('"default"') >= 10
    preset = schema("recipe")["properties"]["presets"]["additionalProperties"]["properties"]
    assert (preset["creativity"]["default"], "contract C14" in preset["creativity"]["description"]) == (0.3, True)


def test_the_docs_say_why_an_editor_does_not_see_what_check_sees() -> None:
    page = (REPOSITORY / "docs/editors.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([^|`]+) \| ([^|]+) \|$", page, re.MULTILINE))
    listed = {group: set(re.findall(r"`([^`]+)`", rows[group])) for group in UNSEEN}
    assert listed == UNSEEN
