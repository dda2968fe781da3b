"""Recipes that nobody would write, laid out by `omixa fmt`: nothing may be lost, and a second time nothing changes.

    python -m tests.long.layouts --recipes 100000
    python -m tests.long.layouts --seed 4711 --recipes 1      that one again

Each is laid out and held against what it was made of: equal data, numbers as they were written, every comment
that was put in exactly once. Prints what it did; ends with 1 at the first that differs.
"""

import argparse
import sys
import time
import tomllib
from collections import Counter

from runner.commands.schema import schema
from runner.layout import laid_out
from runner.tomlfile import tree_of
from tests.fmt.made import Made, recipe


def fault(made: Made, order: dict[str, object]) -> str | None:
    """What laying a file out did wrong, or None."""
    once = laid_out(made.text, order)
    if laid_out(once, order) != once:
        return "a second time changes something"
    if data(once) != data(made.text):
        return "the data is not the same"
    if found(once) != Counter(made.comments):
        return "the comments are not the same"
    return None


def data(text: str) -> str:
    """All that a text says, in one spelling: tables sorted by name, numbers with a point as they are written."""
    return repr(_sorted(tomllib.loads(text, parse_float=lambda written: f"decimal {written}")))


def _sorted(value: object) -> object:
    if isinstance(value, dict):
        return sorted((key, _sorted(one)) for key, one in value.items())
    return [_sorted(one) for one in value] if isinstance(value, list) else value


def found(text: str) -> Counter[str]:
    """The comments of a text, by its syntax tree."""
    nodes, comments = [tree_of(text).root_node], []
    while nodes:
        node = nodes.pop()
        nodes += node.children
        if node.type == "comment":
            comments.append((node.text or b"").decode())
    return Counter(comments)


def main() -> int:
    """Lay out as many as asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0, help="the first seed; each recipe has the next one")
    options = parser.parse_args()
    order, began = schema("recipe"), time.monotonic()
    changed = comments = characters = 0
    for seed in range(options.seed, options.seed + options.recipes):
        made = recipe(seed)
        wrong = fault(made, order)
        if wrong is not None:
            print(f"seed {seed}: {wrong}\n{made.text}", file=sys.stderr)
            return 1
        changed += laid_out(made.text, order) != made.text
        comments += len(made.comments)
        characters += len(made.text)
    print(
        f"{options.recipes} recipes from seed {options.seed} on, {characters} characters, {comments} comments: "
        f"{changed} were laid out anew, nothing was lost, and none changed a second time "
        f"({time.monotonic() - began:.0f} s)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
