"""Problems for machines: JSON, annotations for GitHub, Code Quality for GitLab, SARIF 2.1.0, and JUnit."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from runner import __version__
from runner.declared import real
from runner.diagnostics import Place, Problem, render
from runner.settings_tables import FILE_NAME


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
    properties["file"] = _plain(_path(problem, root))
    if place is not None and place.line is not None and place.column is not None:
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


# Where a pipeline says that it checked the repository out.
_CHECKOUTS = ("GITHUB_WORKSPACE", "CI_PROJECT_DIR")


def _prefix(root: Path) -> str:
    """The project's folder in its repository, with a slash at its end; reports are relative to the repository.

    The repository is where the pipeline says, otherwise the nearest folder above with a `.git`. Empty for the
    repository itself, and where there is none.
    """
    here = real(root)
    told = [real(Path(os.environ[name])) for name in _CHECKOUTS if os.environ.get(name)]
    above = [folder for folder in (here, *here.parents) if (folder / ".git").exists()]
    for checkout in [folder for folder in told if here.is_relative_to(folder)] + above[:1]:
        inside = here.relative_to(checkout).as_posix()
        return "" if inside == "." else f"{inside}/"
    return ""


def _path(problem: Problem, root: Path) -> str:
    """The file of a problem, in its repository; omixa.toml where no file is to blame, as reports need one."""
    return _prefix(root) + (problem.place.path if problem.place is not None else FILE_NAME)


def _fingerprints(problems: Iterable[Problem], root: Path) -> list[str]:
    """What each problem is known by from one commit to the next: code, file and message, not the line, which moves.

    Equal ones in a file are counted, as no two may be the same.
    """
    seen: Counter[tuple[str, ...]] = Counter()
    found = []
    for problem in problems:
        key = (problem.code, _path(problem, root), problem.message)
        seen[key] += 1
        text = "\0".join((*key, str(seen[key])))
        found.append(hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest())
    return found


def as_gitlab(problems: Sequence[Problem], root: Path) -> str:
    """A Code Quality report, which GitLab shows in a merge request and beside its lines."""
    # https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format
    found = [
        {
            "description": _message(problem),
            "check_name": problem.code,
            "fingerprint": fingerprint,
            "severity": "major" if problem.severity == "error" else "minor",
            "location": {"path": _path(problem, root), "lines": {"begin": _line(problem)}},
        }
        for problem, fingerprint in zip(problems, _fingerprints(problems, root), strict=True)
    ]
    return json.dumps(found, indent=2, ensure_ascii=False)


def _line(problem: Problem) -> int:
    place = problem.place
    return place.line if place is not None and place.line is not None else 1


def as_junit(problems: Sequence[Problem], root: Path, files: Iterable[str]) -> str:
    """A JUnit report: a test case for each problem, which fails, and one for each of `files` that has none."""
    from xml.etree.ElementTree import Element, SubElement, indent, tostring

    suites = Element("testsuites", name="omixa check")
    suite = SubElement(suites, "testsuite", name="omixa check")
    blamed = {_path(problem, root) for problem in problems}
    for name in files:
        if (path := _prefix(root) + name) not in blamed:
            SubElement(suite, "testcase", classname=_plain(path), name="no problem", file=_plain(path))
    for problem in problems:
        path = _plain(_path(problem, root))
        where = "" if problem.place is None or problem.place.line is None else f" in line {problem.place.line}"
        case = SubElement(suite, "testcase", classname=path, name=f"{problem.code}{where}", file=path)
        failure = SubElement(case, "failure", type=problem.code, message=_plain(problem.message))
        failure.text = _plain(render([problem]))
    for element in (suites, suite):
        element.attrib |= {"tests": str(len(suite)), "failures": str(len(problems)), "errors": "0"}
    indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(suites, encoding="unicode")


def _plain(text: str) -> str:
    """The text without what XML cannot say and a log should not: control characters, and bytes that are none."""
    return "".join(c if c.isprintable() or c in "\t\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


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
        "results": [
            _result(problem, codes, _path(problem, root), fingerprint)
            for problem, fingerprint in zip(problems, _fingerprints(problems, root), strict=True)
        ],
    }
    log = {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=2, ensure_ascii=False)


def _result(problem: Problem, codes: Sequence[str], path: str, fingerprint: str) -> dict[str, Any]:
    physical: dict[str, Any] = {"artifactLocation": {"uri": quote(path, errors="surrogateescape")}}
    place = problem.place
    if place is not None and place.line is not None and place.column is not None:
        physical["region"] = {
            "startLine": place.line,
            "startColumn": place.column,
            "endColumn": place.column + place.length,
        }
    return {
        "ruleId": problem.code,
        "ruleIndex": codes.index(problem.code),
        "level": problem.severity,
        "message": {"text": _message(problem)},
        "locations": [{"physicalLocation": physical}],
        "partialFingerprints": {"omixa/1": fingerprint},
    }
