"""Recipes as nobody would write them: any order, spelling and spacing, and comments wherever TOML has room for one.

Drawn from a seed, so that each can be had again. (Hypothesis made the same, ten times slower.)
"""

import tomllib
from random import Random

# What a scanner could take for something else.
_WORDS = ["a", "ü", "{stem}", "#", "=", ",", "[x]", "{", "}", "\\\\", "# no comment", "…", "  ", "\U0001f5bc"]
_VALUES = [
    *("0", "3", "-17", "+1", "1_000", "0xDEAD_beef", "0o17", "0b101", "true", "false"),
    *("0.3", "0.30", "-0.0", "1e3", "6.626e-34", "1_0.5", "inf", "-nan"),
    *("1979-05-27", "07:32:00.5", "1979-05-27T07:32:00Z", "1979-05-27 07:32:00.999-07:00"),
]
_KEYS = [
    *("name", "seed", "zeta", "alpha", '"b c"', "'q.r'", "3", "true", "-", '"\\u00fc"', "creativity", "style_preset"),
    *("folder", "format", "month", "run", "day", "cron", "include", "text", "negative", "p.q", "p . r", "1979-05-27"),
]
_TOP = ["workspace", "model", "canary", "description", "cost_centre", "more . a", "more.b", "output.x", "deep"]
_TABLES = [
    *("[output]", "[ budget ]", "[schedule]", "[labels]", "[allow]", '["un heard"]', "[deep . er]", "[deep.er.still]"),
    *("[prompts.one]", "[prompts . two]", '[presets."th.ree"]', "[presets.one]", "[[ sources ]]", "[[sources]]"),
    *("[[sources]]", "[sources.inside]", "[[sources.many]]", "[[other]]", "[prompts]"),
]


class Made:
    """One file in the making; `comments` are those that were put into it, each of them unlike all others."""

    def __init__(self, seed: int) -> None:
        self.draw = Random(seed)
        self.comments: list[str] = []
        self.text = ""
        self._document()

    def _space(self) -> str:
        return self.draw.choice(["", " ", "  ", "\t"])

    def _comment(self) -> str:
        words = self.draw.choices([*_WORDS, '"""', "'''", "]", "key = 1", "["], k=self.draw.randrange(4))
        self.comments.append(" ".join([f"#{self.draw.choice(['', ' ', ':'])}{len(self.comments)}", *words]).rstrip())
        return self.comments[-1]

    def _lines(self) -> str:
        """Comments and empty lines between two statements."""
        drawn = self.draw.choices(["", "comment", None, None], k=3)
        return "".join(f"{self._space()}{self._comment() if one else ''}\n" for one in drawn if one is not None)

    def _beside(self) -> str:
        return self._space() + (self._comment() if self.draw.random() < 0.3 else "") + "\n"

    def _string(self) -> str:
        text = " ".join(self.draw.choices(_WORDS, k=self.draw.randrange(4)))
        line = self.draw.choice(["\n", "\n\n# not a comment\n", "\n[no.table]\n", "\n  x = 1 # none\n"])
        return self.draw.choice(
            [
                f'"{text}"',
                f"'{text}'",
                f'"""{line}{text}\\\n   {line}it\'s{self.draw.choice(["", chr(34), chr(34) * 2])}"""',
                f"'''{line}{text}{line}\"\"\"{self.draw.choice(['', chr(39), chr(39) * 2])}'''",
            ]
        )

    def _value(self, depth: int = 0) -> str:
        kind = self.draw.random()
        if depth == 3 or kind < 0.5:
            return self._string() if self.draw.random() < 0.5 else self.draw.choice(_VALUES)
        return self._array(depth) if kind < 0.8 else self._inline_table(depth)

    def _between(self) -> str:
        """What may stand between the items of an array."""
        drawn = self.draw.choices([" ", "\n", "comment", "", ""], k=2)
        return "".join(f" {self._comment()}\n" if one == "comment" else one for one in drawn)

    def _array(self, depth: int) -> str:
        count = self.draw.choice([0, 1, 2, 3, 9])
        text = "[" + self._between()
        for number in range(count):
            text += self._value(depth + 1) + self._between()
            if number < count - 1 or self.draw.random() < 0.5:
                text += "," + self._between()
        return text + "]"

    def _inline_table(self, depth: int) -> str:
        keys = self.draw.sample([*_KEYS, "x . y", "x.z"], k=self.draw.randrange(5))
        pairs = [f"{key}{self._space()}={self._space()}{self._value(depth + 1)}{self._space()}" for key in keys]
        return "{" + self._space() + ",".join(pairs) + "}"

    def _pairs(self, keys: list[str]) -> None:
        for key in self.draw.sample(keys, k=self.draw.randrange(5)):
            self.text += f"{self._space()}{key}{self._space()}={self._space()}{self._value()}{self._beside()}"
            self.text += self._lines()

    def _document(self) -> None:
        if self.draw.random() < 0.3:
            self.comments.append("#:schema ../docs/schema/recipe.schema.json")
            self.text += self.comments[-1] + "\n"
        self.text += self._lines()
        self._pairs([*_KEYS, *_TOP])
        for header in self.draw.sample(_TABLES, k=self.draw.randrange(8)):
            self.text += f"{self._space()}{header}{self._beside()}{self._lines()}"
            self._pairs(_KEYS)
        if self.draw.random() < 0.5:
            self.text = self.text.rstrip("\n")


def recipe(seed: int) -> Made:
    """The first valid TOML of a seed: what is drawn may have a key or table twice, which is drawn again."""
    for again in range(1000):
        made = Made(seed * 1000 + again)
        try:
            tomllib.loads(made.text)
        except tomllib.TOMLDecodeError:
            continue
        return made
    raise AssertionError(f"seed {seed} makes no TOML")
