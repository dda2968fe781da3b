"""What docs/reviews.md shows is what `omixa diff` prints, as of the day on which the page was written."""

import argparse
import re
import shlex
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runner.commands import diff
from runner.comparison import over
from runner.money import declared
from tests.review.conftest import Scratch

PAGE = Path(__file__).parents[2] / "docs/reviews.md"
AT = datetime(2026, 11, 27, 12, tzinfo=UTC)


def examples() -> list[tuple[str, str]]:
    """Each command of the page's console blocks, with what it prints."""
    blocks = re.findall(r"```(?:console|md)\n\$ (omixa diff .*?)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [(command, printed) for command, printed in blocks]


@pytest.fixture
def reviewed(scratch: Scratch) -> Scratch:
    """Scans become hourly, and the logos get another prompt."""
    scratch.git("checkout", "--quiet", "main")
    scratch.settings(more='[policy]\nmax_monthly_cost = "200.00"')
    (scratch.root / "recipes/posters.toml").unlink()
    for n in range(10):
        scratch.picture(f"pictures/scans/{n}.png")
    for n in range(2):
        scratch.picture(f"pictures/logos/{n}.png")
    scratch.recipe("scans", folder="pictures/scans")
    scratch.recipe("logos", folder="pictures/logos", text="Clean edges.", cron="0 4 * * 1")
    scratch.commit()
    scratch.git("checkout", "--quiet", "-B", "feature")
    scratch.replace("recipes/scans.toml", "0 2 * * *", "0 * * * *")
    scratch.replace("recipes/logos.toml", "Clean edges.", "Clean edges, flat colours.")
    scratch.commit()
    return scratch


def test_every_example_prints_what_the_page_shows(reviewed: Scratch) -> None:
    assert {"text", "markdown"} == {"markdown" if "markdown" in command else "text" for command, _ in examples()}
    for command, printed in examples():
        parser = argparse.ArgumentParser()
        diff.arguments(parser)
        asked = parser.parse_args(shlex.split(command)[2:])
        found = diff.compared(str(reviewed.root), asked.what, at=AT)
        if asked.max_increase is not None:
            found.violations.extend(over(found, declared(asked.max_increase)))
        told = re.sub(r"\(([0-9a-f]{12})\)", "(1a2b3c4d5e6f)", diff.shown(found, asked.format))
        assert told == printed, command


def test_every_code_and_key_of_the_policy_is_on_its_page() -> None:
    text = PAGE.read_text()
    source = "".join(path.read_text() for path in (PAGE.parents[1] / "runner").glob("*.py"))
    codes = set(re.findall(r'"(policy-[a-z-]+|max-increase|increase-unknown)"', source))
    assert len(codes) >= 9
    assert [code for code in sorted(codes) if f"`{code}`" not in text] == []
