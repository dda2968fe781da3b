"""Starting the program is part of the product: what is imported before anything is asked for. No times are asserted.

What it costs in milliseconds is measured by benchmarks/startup.py.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from runner.cli import COMMANDS

# Each costs more than the whole of `--help` may.
HEAVY = {
    "PIL",
    "alembic",
    "apscheduler",
    "cronsim",
    "cryptography",
    "pydantic",
    "pydantic_core",
    "requests",
    "rich",
    "sqlalchemy",
    "tree_sitter",
    "tree_sitter_toml",
    "urllib3",
}


# `python -X importtime` would not do: it leaves out what `importlib.import_module` imports, as the verbs are.
START = """
import sys
try:
    from runner.cli import main
    main(sys.argv[1:])
finally:
    print("imported:", *sys.modules, file=sys.stderr)
"""


def imported(*words: str) -> set[str]:
    """The names of all modules that a command line imports, beyond those of bare Python."""
    return modules(START, *words) - modules("import sys; print('imported:', *sys.modules, file=sys.stderr)")


def modules(program: str, *words: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("imported:")]
    return set(line.split()[1:])


def packages(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def test_what_a_command_needs_is_imported_when_it_runs() -> None:
    assert {"runner.commands.schema", "pydantic"} <= imported("schema")


def test_who_only_looks_at_budgets_or_plans_does_without_sqlalchemy(tmp_path: Path) -> None:
    project = ["-C", str(tmp_path)]
    imported(*project, "init")
    imported(*project, "run", "first")
    found = imported(*project, "budget")
    assert "runner.ledger.standing" in found
    assert "sqlalchemy" not in packages(found)
    found = imported(*project, "plan")
    assert "runner.ledger.known" in found
    assert not packages(found) & {"sqlalchemy", "requests", "urllib3", "cryptography"}


def test_a_project_without_contract_files_does_not_load_what_reads_them(tmp_path: Path) -> None:
    project = ["-C", str(tmp_path)]
    imported(*project, "init")
    assert "runner.contract_file" not in imported(*project, "check")


def test_help_imports_nothing_heavy_and_no_command() -> None:
    found = imported("--help")
    assert not packages(found) & HEAVY
    assert not {name for name in found if name.startswith("runner.commands")}


def test_version_imports_next_to_nothing() -> None:
    found = imported("--version")
    assert not packages(found) & HEAVY
    assert {name for name in found if name.partition(".")[0] == "runner"} == {"runner", "runner.cli"}
    # Of the standard library these are what makes a start slow; bare Python has none of them.
    assert not found & {"argparse", "enum", "re", "typing"}


@pytest.mark.parametrize("verb", COMMANDS)
def test_the_help_of_a_command_imports_nothing_heavy(verb: str) -> None:
    found = imported(verb, "--help")
    assert f"runner.commands.{verb.replace('-', '_')}" in found
    assert not packages(found) & HEAVY


def test_the_program_starts_as_its_tests_call_it() -> None:
    """`start` sets up the interpreter around `main`, and changes nothing else."""
    said = [
        subprocess.run([sys.executable, "-m", "runner", *words], capture_output=True, text=True, check=False)
        for words in (["--version"], ["plan", "--limit", "none"])
    ]
    assert [one.returncode for one in said] == [0, 2]
    assert said[0].stdout.startswith("omixa ")
    assert "invalid int value" in said[1].stderr


def test_checking_recipes_needs_neither_ledger_nor_pictures_nor_a_second_parser(studio: Path) -> None:
    found = packages(imported("check", "--project", str(studio)))
    assert "pydantic" in found
    assert not found & {"sqlalchemy", "PIL", "alembic", "cryptography", "requests", "tree_sitter", "rich"}


def test_the_ledger_is_read_without_the_drivers_of_other_databases(studio: Path) -> None:
    found = imported("report", "--project", str(studio))
    assert "sqlalchemy" in packages(found)
    assert not {name for name in found if name.startswith(("sqlalchemy.dialects.postgresql", "sqlalchemy.orm"))}
    assert "PIL" not in packages(found)


@pytest.fixture
def studio(tmp_path: Path) -> Path:
    """A project as `omixa init` writes it."""
    subprocess.run([sys.executable, "-m", "runner", "init", str(tmp_path / "studio")], capture_output=True, check=True)
    return tmp_path / "studio"
