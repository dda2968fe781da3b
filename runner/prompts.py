"""The text one picture is bought with: the recipe's prompt filled in, or the sidecar beside the picture."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from runner.contracts.contract import Contract
from runner.diagnostics import keys_in
from runner.recipe import Recipe
from runner.recipe_tables import NAMELESS
from runner.templates import TextFault, fill, read_text

SIDECAR_SUFFIX = ".prompt.txt"


@dataclass(frozen=True, slots=True)
class PromptText:
    """What is sent. `negative` None: none is sent. `origin` is `recipe`, `file:<path>` or `sidecar:<path>`.

    The path of a file is relative to the project, that of a sidecar to the source folder.
    """

    text: str
    negative: str | None
    origin: str


def text_for(
    recipe: Recipe, contract: Contract, prompt_name: str, *, picture: Path | None, rel: str
) -> PromptText | str:
    """The text for one picture and the model that has this contract, or the reason why there is none.

    `rel` is the picture's path relative to its source folder, with forward slashes. A sidecar, such as
    `photo.jpg.prompt.txt`, is taken literally and replaces the text of the prompt, not its negative. `picture` None:
    the model takes none. The text is empty where the model can do without, and the recipe has no prompts.
    """
    if prompt_name == NAMELESS:
        return PromptText("", None, "recipe")
    prompt = recipe.prompts[prompt_name]
    values = {"recipe": recipe.name} if picture is None else placeholders(recipe, picture=picture, rel=rel)
    sidecar = None if picture is None else picture.with_name(picture.name + SIDECAR_SUFFIX)
    if sidecar is not None and (sidecar.is_symlink() or sidecar.exists()):
        name = sidecar.name
        try:
            text = read_text(sidecar, links=False)
        except TextFault as fault:
            return f"the prompt file `{name}` {fault}"
        origin = f"sidecar:{rel}{SIDECAR_SUFFIX}"
        subject = f"the prompt file `{name}`"
    else:
        text = fill(prompt.text, values)
        origin = f"file:{prompt.file}" if prompt.file else "recipe"
        subject = f"prompt `{prompt_name}`"
    negative = fill(prompt.negative, values) if prompt.negative is not None else None
    fault_text = _fault(contract, text, negative, subject)
    return fault_text if fault_text is not None else PromptText(text, negative or None, origin)


def placeholders(recipe: Recipe, *, picture: Path, rel: str) -> dict[str, str]:
    """What the placeholders of a prompt stand for. `dir` is empty for a picture directly in the source folder."""
    path = PurePosixPath(rel)
    return {
        "stem": path.stem,
        "name": path.name,
        "dir": "" if path.parent == PurePosixPath() else path.parent.as_posix(),
        "parent": picture.parent.name,
        "recipe": recipe.name,
    }


def _fault(contract: Contract, text: str, negative: str | None, subject: str) -> str | None:
    """Why the filled-in text cannot be sent, or None."""
    if not text.strip():
        return f"{subject} is empty"
    if keys_in(text) or keys_in(negative or ""):
        return f"{subject} has what looks like a workspace key in it"
    for name, value in (("prompt", text), ("negative_prompt", negative or "")):
        field = contract.field(name)
        fault = field.fault(value) if field is not None and value else None
        if fault is not None:
            return f"{subject}: {fault.message}"
    return None
