"""The command line: finds the verb, imports only its file, and shows every error in one way.

Start-up is part of the product: nothing but the standard library is imported here, and argparse only once
there is something to parse.
"""

import sys

# `typing` alone costs a third of a bare start of Python; type checkers take this name for the real one.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from runner.errors import OmixaError

# verb → one line of help. The verb `x-y` lives in runner/commands/x_y.py. To add one: its file, and its line here.
COMMANDS = {
    "init": "write a small project to start from",
    "check": "find every problem in omixa.toml and the recipes",
    "fmt": "lay out omixa.toml, recipes and contracts in one order and spacing; no value and no comment changes",
    "models": "show what each model accepts, and who says so",
    "schema": "write the JSON Schema that editors use",
    "graph": "draw a recipe: which step takes what from where",
    "plan": "show what would be bought, and what it would cost; opens no socket",
    "diff": "what a change of recipes would cost, before it is merged",
    "approve": "sign a frozen plan, up to an amount: what may then be bought, once",
    "run": "buy what the recipes ask for, within every budget",
    "schedule": "run recipes when they are due; what comes, what was, what was missed",
    "forecast": "what the schedules will cost, and the slot at which each budget ends",
    "budget": "show every budget window: cap, settled, open, left",
    "report": "what was spent, by day, recipe, model, cost centre and more",
    "close": "close a month for good: its reports stay the same bytes, and the ledger refuses changes in it",
    "audit": "every request: who, what, when, and what it cost",
    "history": "the changes of a recipe in git, each beside what was bought by it",
    "blame": "which request made a picture, from what, for how much, and who asked for it",
    "resolve": "settle or release an attempt whose answer never came",
    "reconcile": "compare the provider's usage or invoice file with the ledger, line by line",
    "stop": "send nothing more, in one workspace or everywhere, in every process, at once",
    "resume": "let go on what a stop or a breach has stopped",
    "grant": "let a budget window take more than its cap, for a while",
    "alert": "who is told of what: alerts, how far each has come, and a test",
    "doctor": "check settings, key, ledger, clock and disk",
    "sandbox": "serve the local endpoint: same contract, no account, no money",
}


def start() -> int:
    """The process `omixa` itself: its own settings of the interpreter around `main`, which tests call as it is."""
    import gc
    import os

    # Imports make a few hundred thousand objects that live until the end: looking through them again and again, and
    # once more at the end, is a quarter of a start. Later the collector still runs, in larger steps.
    gc.set_threshold(10_000, 10, 10)
    # No package that happens to be installed takes part in checking a recipe, or is even searched for.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        return main()
    except KeyboardInterrupt:  # while the very first modules are loaded
        print("interrupted", file=sys.stderr)
        return 130
    finally:
        gc.freeze()


def main(arguments: list[str] | None = None) -> int:
    """Run one command line; returns the exit code (see runner.errors.ExitCode). Prints; never a traceback."""
    words = sys.argv[1:] if arguments is None else arguments
    if words in (["--version"], ["-V"]):
        from runner import __version__

        print(f"omixa {__version__}")
        return 0
    return _dispatch(words)


def _dispatch(words: list[str]) -> int:
    from importlib import import_module

    from runner.errors import ExitCode, OmixaError

    # A name that this terminal cannot show must not end the program after money was spent.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        parser = _parser(set(words))
        options = vars(parser.parse_args(words))
        verb = options.pop("verb")
        if verb is None:
            parser.print_help()
            return int(ExitCode.OK)
        module: Any = import_module(f"runner.commands.{verb.replace('-', '_')}")
        code = int(module.run(**options))
        sys.stdout.flush()
        return code
    except OmixaError as error:
        _show(error)
        return int(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return int(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        _forget_stdout()  # the reader (`| head`) has gone
        return int(ExitCode.OK)
    except OSError as error:
        _forget_stdout()
        print(f"error: {error.filename or 'standard output'} cannot be used: {error.strerror}", file=sys.stderr)
        return int(ExitCode.DISK)
    except Exception as error:  # noqa: BLE001 - the last stop: a traceback is for us, not for the user
        print(_crash_note(error), file=sys.stderr)
        return int(ExitCode.INTERNAL)


def _forget_stdout() -> None:
    """Point stdout elsewhere, or Python complains again while it shuts down."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _crash_note(error: Exception) -> str:
    """A message about our own mistake; the traceback goes to a file, without anything that looks like a key."""
    import os
    import re
    import tempfile
    import traceback

    report = re.sub(r"omx_(live|test)_[\w-]+", "***", "".join(traceback.format_exception(error)))
    try:
        file, path = tempfile.mkstemp(prefix="omixa-crash-", suffix=".txt")
        with os.fdopen(file, "w", encoding="utf-8") as out:
            out.write(report)
        where = f"the details are in `{path}`: please send them to the maintainers"
    except OSError:
        where = report
    return (
        f"error: omixa made a mistake of its own ({type(error).__name__})\n"
        "   = help: what was sent is in the ledger and is finished by the next run; see `omixa audit list`\n"
        f"   = help: {where}"
    )


def _show(error: "OmixaError") -> None:
    if hasattr(error, "problems"):  # diagnostics.Problems: already rendered, one block each
        print(error.message, file=sys.stderr)
        return
    print(f"error: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"   = help: {error.hint}", file=sys.stderr)


def _parser(words: set[str]) -> "argparse.ArgumentParser":
    """The parser; only verbs among the words get their own arguments, so that only their files are imported."""
    import argparse
    from importlib import import_module

    parser = argparse.ArgumentParser(
        prog="omixa",
        description="Run recipes against a paid image endpoint, never past a cap, and prove every cent.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", "-V", action="store_true", help="show the version and exit")
    parser.add_argument(
        "--project",
        "-C",
        metavar="DIR",
        default=None,
        help="the folder with omixa.toml (default: this folder or the nearest one above)",
    )
    verbs = parser.add_subparsers(dest="verb", metavar="command", title="commands")
    for name, text in COMMANDS.items():
        sub = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False)
        if name in words:
            module: Any = import_module(f"runner.commands.{name.replace('-', '_')}")
            module.arguments(sub)
            # Also after the verb, where people write it.
            sub.add_argument("--project", "-C", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return parser
