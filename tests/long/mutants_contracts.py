"""Seeded faults in contract files: what is not held against them, or leaves. `tests.long.mutants` tries them."""

from tests.long.mutant import Mutant

FILE, RECIPE, SEND = "runner/contract_file.py", "runner/recipe.py", "runner/providers/omixa.py"
CHECKS = "runner/recipe_checks.py"
OF_FILES, RUNS = "tests/test_contract_file.py", "tests/run/test_contracts.py"

CONTRACTS = (
    Mutant(
        "built-in-redeclared",
        "a file cannot loosen what the package knows of a model",
        FILE,
        "if not isinstance(model, str) or model not in known:",
        "if True:",
        OF_FILES,
    ),
    Mutant(
        "default-unchecked",
        "a default that the model does not accept is a problem",
        FILE,
        'fault = made.fault(row["default"])',
        "fault = None",
        OF_FILES,
    ),
    Mutant(
        "broken-contract-runs",
        "nothing is bought while a contract file has problems",
        "runner/settings.py",
        "problems = [*in_order(chain.from_iterable(found), FILE_NAME), *of_contracts]",
        "problems = in_order(chain.from_iterable(found), FILE_NAME)",
        RUNS,
    ),
    Mutant(
        "contract-never-dirty",
        "the ledger tells whether the contract was committed",
        "runner/jobs.py",
        "for step in recipe.steps if step.contract.file is not None]\n    git = git_state",
        "for step in ()]\n    git = git_state",
        RUNS,
    ),
    Mutant(
        "required-option-forgotten",
        "an option that the model requires is missed before it is sent",
        CHECKS,
        "if option.required and name not in preset:",
        "if False:",
        "tests/test_check.py",
    ),
    Mutant(
        "style-allows-all",
        "an allowed style is allowed for styles only",
        "runner/contracts/contract.py",
        "(self.choices_may_grow and value in allowed)",
        "value in allowed",
        OF_FILES,
    ),
    Mutant(
        "picture-unasked",
        "a model that takes no picture is sent none, and one that takes a picture never goes without",
        SEND,
        "if (order.picture is None) != (contract.pictures is None):",
        "if False:",
        "tests/providers/test_omixa.py -k contract",
    ),
    Mutant(
        "prompt-not-in-key",
        "each prompt without a source picture is an item of its own",
        "runner/drafts.py",
        "sent = want, options, text.text, text.negative",
        'sent = want, options, "" if found is None else text.text, text.negative',
        OF_FILES,
    ),
    Mutant(
        "presets-dropped",
        "each prompt is bought with each preset",
        RECIPE,
        "presets=tuple(table.preset or [NAMELESS])),)",
        "presets=(NAMELESS,)),)",
        OF_FILES,
    ),
    Mutant(
        "format-unheld",
        "a format that the model cannot give is a problem",
        CHECKS,
        "wanted not in field.choices:",
        "False:",
        "tests/test_check.py",
    ),
    Mutant(
        "cut-outs-called-wrong",
        "a picture without its background is not said to look wrong",
        "runner/drafts.py",
        'resembles=step.contract.operation == "upscaling",',
        "resembles=True,",
        RUNS,
    ),
    Mutant(
        "sandbox-takes-a-picture",
        "the sandbox refuses a picture where the model takes none",
        "runner/sandbox/judge.py",
        'if name not in ("model", _pictures_name(contract))}',
        'if name not in ("model", "input_images")}',
        "tests/sandbox/test_sandbox_models.py",
    ),
    Mutant(
        "placeholder-unnamed",
        "an answer says that nobody has read the prompt",
        "runner/sandbox/answer.py",
        "honest = _HONEST.get(accepted.contract.operation, _RESAMPLED)",
        "honest = _RESAMPLED",
        "tests/sandbox/test_sandbox_models.py",
    ),
    Mutant(
        "watch-misses-contracts",
        "a scheduler reads contract files again when they change",
        "runner/watch.py",
        "for folder in (known_models.FOLDER, recipes.FOLDER)",
        "for folder in (recipes.FOLDER,)",
        "tests/schedule/test_steps.py -k contract",
    ),
)
