"""Recipe and workspace → the caps that a request falls under. Pure."""

from runner.ledger.values import Cap
from runner.recipe import Recipe
from runner.settings import Workspace
from runner.windows import PERIODS


def caps_of(workspace: Workspace, recipe: Recipe | None = None, run_uid: str | None = None) -> list[Cap]:
    """Every cap that one request falls under: the workspace's, the recipe's, and the run's. All must have room."""
    caps = [Cap("workspace", "", period, workspace.budget[period]) for period in PERIODS if period in workspace.budget]
    if recipe is not None:
        caps += [
            Cap("recipe", recipe.name, period, recipe.budget[period]) for period in PERIODS if period in recipe.budget
        ]
        if "run" in recipe.budget:
            caps.append(Cap("run", run_uid or "", "run", recipe.budget["run"]))
    return caps
