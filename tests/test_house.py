"""The house keeps its order: who may import what, where money is exact, and that code and docs name the same things."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from runner.cli import COMMANDS
from runner.commands.run import _GRAVITY as GRAVITY_OF_RUNS
from runner.errors import ExitCode
from tests.long import mutants, mutants_sim

ROOT = Path(__file__).parent.parent
RUNNER = ROOT / "runner"
FILES = sorted(path.relative_to(RUNNER).as_posix() for path in RUNNER.rglob("*.py"))

# Package → the files of runner/ that may import it; a folder stands for all in it.
OWNERS = {
    "requests": ["providers/omixa.py"],
    "urllib3": ["providers/omixa.py"],
    "http": ["providers/omixa.py", "sandbox/", "monitor/http.py"],
    # identity.py asks for the machine's name, which opens none.
    "socket": ["providers/", "sandbox/", "identity.py", "monitor/"],
    "socketserver": ["sandbox/", "monitor/http.py"],
    "apprise": ["messenger.py"],
    "prometheus_client": ["monitor/metrics.py"],
    "ssl": ["providers/omixa.py"],
    "sqlalchemy": ["ledger/"],
    # What was seen of pictures is no part of the ledger, and may be lost.
    "sqlite3": ["ledger/", "images/seen.py", "images/unchanged.py", "pile.py"],
    "pysqlite3": ["ledger/"],
    "alembic": ["ledger/migrate.py"],
    "apscheduler": ["schedule.py"],
    "cronsim": ["slots.py"],
    "cryptography": ["trail/checkpoint.py"],
    "PIL": ["images/", "sandbox/"],
    "tree_sitter": ["tomlfile.py", "layout.py"],
    "tree_sitter_toml": ["tomlfile.py"],
    "rich": ["commands/"],
    # Ways to send that nobody here needs.
    "aiohttp": [],
    "asyncio": [],
    "ftplib": [],
    "httpx": [],
    "smtplib": [],
    "xmlrpc": [],
}

# Where a float would be money that is wrong in the last digit.
EXACT = [
    "money.py",
    "invoices/",
    "plan.py",
    "policy.py",
    "comparison.py",
    "cap_raises.py",
    "wording.py",
    "booking.py",
    "recovery.py",
    "execution.py",
    "jobs.py",
    "ledger/",
    "reports/",
    "trail/",
]

# The words of the design; the states of money are words too.
WORDS = [
    *("workspace", "recipe", "preset", "prompt", "contract", "item", "item key", "plan", "run", "attempt", "ceiling"),
    *("reservation", "entry", "budget window", "headroom", "slot", "refuse", "decline"),
    *("reserved", "sent", "unknown", "settled", "released", "open"),
]


def tree(name: str) -> ast.Module:
    return ast.parse((RUNNER / name).read_text(encoding="utf-8"), name)


def within(name: str, places: list[str]) -> bool:
    return any(name == place or (place.endswith("/") and name.startswith(place)) for place in places)


def imports(name: str) -> Iterator[str]:
    """Every module that a file imports, anywhere in it."""
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno}: imports are absolute"
            yield f"{node.module}"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


# ---- who imports what


def test_nothing_earlier_imports_anything_later() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_sandbox_stands_apart_from_what_it_tests() -> None:
    """It keeps the contract by itself: what the program and the sandbox both got wrong would otherwise look right."""
    allowed = {"sandbox", "contracts", "diagnostics", "errors", "images", "money"}
    for name in FILES:
        if within(name, ["sandbox/"]):
            parts = {module.split(".")[1] for module in imports(name) if module.startswith("runner.")}
            assert parts <= allowed, f"runner/{name}"


@pytest.mark.parametrize("name", FILES)
def test_a_package_is_imported_only_where_it_belongs(name: str) -> None:
    for module in imports(name):
        package = module.partition(".")[0]
        if package in OWNERS and module != "http.HTTPStatus":
            assert within(name, OWNERS[package]), f"runner/{name} imports {module}"


def test_exactly_one_module_can_send_a_paid_request() -> None:
    assert [name for name in FILES if "requests" in imports(name)] == ["providers/omixa.py"]


def test_no_file_imports_what_is_private_to_another_folder() -> None:
    for name in FILES:
        for module in imports(name):
            *folders, last = module.split(".")
            if folders[:1] == ["runner"] and last.startswith("_") and not last.startswith("__"):
                home = "/".join(folders[1:-1])
                assert Path(name).parent.as_posix() == (home or "."), f"runner/{name} imports {module}"


# ---- money is exact


@pytest.mark.parametrize("name", [name for name in FILES if within(name, EXACT)])
def test_there_is_no_float_near_money(name: str) -> None:
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("float", "round"), f"runner/{name}:{node.lineno}"
        if isinstance(node, ast.Attribute | ast.Name):
            named = node.attr if isinstance(node, ast.Attribute) else node.id
            assert named not in ("Numeric", "Float", "REAL"), f"runner/{name}:{node.lineno}"
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            words = ast.unparse(node)
            assert not re.search(r"micros|amount|billed|cents", words), f"runner/{name}:{node.lineno}: {words}"


# ---- everything says what it promises


def public(name: str) -> Iterator[tuple[str, ast.AST]]:
    """Modules, public functions and classes at the top, and the public methods of those classes."""
    module = tree(name)
    yield name, module
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, node
            if isinstance(node, ast.ClassDef):
                for inner in node.body:
                    if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                        yield f"{node.name}.{inner.name}", inner


@pytest.mark.parametrize("name", FILES)
def test_everything_public_says_what_it_promises(name: str) -> None:
    silent = [
        what
        for what, node in public(name)
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and not ast.get_docstring(node)
    ]
    assert silent == []


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_verb_has_its_file(verb: str) -> None:
    module = import_module(f"runner.commands.{verb.replace('-', '_')}")
    assert callable(module.arguments)
    assert callable(module.run)
    assert (module.__doc__ or "").startswith(f"`omixa {verb}`")


# ---- the docs name what the code names


def test_the_docs_list_every_exit_code_and_no_other() -> None:
    text = (ROOT / "docs/exit-codes.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| (\d+) \| `(\w+)` \|", text, re.MULTILINE)
    assert listed == [(str(int(code)), code.name) for code in ExitCode]


def test_the_docs_order_the_codes_of_a_run_as_the_program_does() -> None:
    text = " ".join((ROOT / "docs/exit-codes.md").read_text(encoding="utf-8").split())
    assert f"gravest code of all of them: {', '.join(str(code) for code in GRAVITY_OF_RUNS)}, from" in text


def test_the_glossary_has_every_word() -> None:
    text = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
    explained = re.findall(r"^\| \*\*([^|]+)\*\* \|", text, re.MULTILINE)
    words = [word for cell in explained for word in cell.replace("**", "").split(", ")]
    assert [word for word in WORDS if word not in words] == []
    assert len(words) == len(set(words)), "one word, one meaning"


def test_the_docs_point_at_files_that_are_there() -> None:
    for page in [ROOT / "CONTRIBUTING.md", ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_contributing_points_at_files_that_are_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:runner|tests|docs|benchmarks|migrations|recipes)/[\w./-]*)`", text)
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_seeded_fault_still_finds_its_place() -> None:
    """The long runs break the house on purpose; code that moved away from under a fault must be noticed here."""
    places = [(mutant.name, mutant.file, mutant.old) for mutant in mutants.MUTANTS]
    places += [(fault.name, file, old) for fault in mutants_sim.FAULTS for file, old, _ in fault.changes]
    lost = [name for name, file, old in places if old not in (ROOT / file).read_text(encoding="utf-8")]
    assert lost == []
