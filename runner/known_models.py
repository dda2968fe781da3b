"""Every model that a project knows: those of the package, and those of its `contracts/`."""

from itertools import islice
from pathlib import Path

from runner.contracts import CONTRACTS
from runner.contracts.contract import Contract
from runner.diagnostics import Place, Problem

FOLDER = "contracts"
FILES_MAX = 100


def load_all(root: Path) -> tuple[dict[str, Contract | None], list[Problem]]:
    """Every model of the project at `root`: those of the package, then those of its files, and every problem.

    None stands for a model whose file has problems: it is known, and nothing can be said against its options.
    """
    known: dict[str, Contract | None] = dict(CONTRACTS)
    paths = sorted(islice((root / FOLDER).glob("*.toml"), FILES_MAX + 1))
    problems: list[Problem] = []
    if len(paths) > FILES_MAX:
        hint = "remove those that no recipe names"
        message = f"{FOLDER}/ has more than {FILES_MAX} contracts"
        return known, [Problem("too-many-files", message, Place(FOLDER), hint=hint)]
    for path in paths:
        from runner.contract_file import load  # a file of tables: read only where a project has one

        name, contract, found = load(path, root, known)
        problems += found
        known.setdefault(name, contract)
    return known, problems
