"""Problems for machines: JSON, annotations for GitHub, and SARIF 2.1.0 for code scanners."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from runner import __version__
from runner.declared import real
from runner.diagnostics import Place, Problem


def as_json(problems: Sequence[Problem], recipes: Sequence[str]) -> str:
    """One object, schema `omixa.check/1`. Lines and columns count from 1; null where only the file is known."""
    found = {
        "schema": "omixa.check/1",
        "ok": not any(problem.severity == "error" for problem in problems),
        "recipes": list(recipes),
        "problems": [_problem(problem) for problem in problems],
    }
    return json.dumps(found, indent=2, ensure_ascii=False)


def _problem(problem: Problem) -> dict[str, Any]:
    place = problem.place or Place("")
    return {
        "code": problem.code,
        "severity": problem.severity,
        "message": problem.message,
        "label": problem.label,
        "hint": problem.hint,
        "path": place.path or None,
        "line": place.line,
        "column": place.column,
        "length": place.length if place.line is not None else None,
    }


def as_github(problems: Iterable[Problem], root: Path) -> str:
    """Workflow commands, one line each, that GitHub shows beside the lines of a pull request."""
    return "".join(_annotation(problem, root) + "\n" for problem in problems)


def _annotation(problem: Problem, root: Path) -> str:
    properties: dict[str, object] = {}
    place = problem.place
    if place is not None:
        properties["file"] = _prefix(root) + place.path
        if place.line is not None and place.column is not None:
            properties["line"] = place.line
            properties["col"] = place.column
            properties["endColumn"] = place.column + place.length
    properties["title"] = problem.code
    listed = ",".join(f"{name}={_escaped(str(value), _PROPERTY)}" for name, value in properties.items())
    return f"::{problem.severity} {listed}::{_escaped(_message(problem), _DATA)}"


# https://github.com/actions/toolkit/blob/main/packages/core/src/command.ts
_DATA = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_PROPERTY = {**_DATA, ":": "%3A", ",": "%2C"}


def _escaped(text: str, table: Mapping[str, str]) -> str:
    return "".join(table.get(character, character) for character in text)


def _message(problem: Problem) -> str:
    return "\n".join(part for part in (problem.message, problem.label, problem.hint) if part)


def _prefix(root: Path) -> str:
    """The project's folder in the repository that GitHub checked out; annotations are relative to that."""
    workspace = os.environ.get("GITHUB_WORKSPACE")
    if not workspace or not real(root).is_relative_to(real(Path(workspace))):
        return ""
    inside = real(root).relative_to(real(Path(workspace))).as_posix()
    return "" if inside == "." else f"{inside}/"


def as_sarif(problems: Sequence[Problem], root: Path) -> str:
    """SARIF 2.1.0. Columns count characters; paths are relative to the repository where that is known."""
    codes = sorted({problem.code for problem in problems})
    driver = {
        "name": "omixa",
        "semanticVersion": __version__,
        "rules": [{"id": code, "shortDescription": {"text": code.replace("-", " ")}} for code in codes],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(problem, codes, _prefix(root)) for problem in problems],
    }
    log = {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=2, ensure_ascii=False)


def _result(problem: Problem, codes: Sequence[str], prefix: str) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": problem.code,
        "ruleIndex": codes.index(problem.code),
        "level": problem.severity,
        "message": {"text": _message(problem)},
    }
    place = problem.place
    if place is not None:
        physical: dict[str, Any] = {"artifactLocation": {"uri": quote(prefix + place.path)}}
        if place.line is not None and place.column is not None:
            physical["region"] = {
                "startLine": place.line,
                "startColumn": place.column,
                "endColumn": place.column + place.length,
            }
        result["locations"] = [{"physicalLocation": physical}]
    return result
