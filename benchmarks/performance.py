"""Makes docs/performance.md, and its pictures, from what the benchmarks have kept in benchmarks/results/.

    python -m benchmarks.performance

Every file there is one section: `title`, `command`, `commit`, `at`, `machine`, `system`, `notes`, `goals` (rows of
work, against, goal, measured, whether it was reached) and `tables`. A benchmark that calls `measured.keep` is in it by
itself.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import measured, svg

PAGE = measured.ROOT / "docs" / "performance.md"
PICTURE = measured.ROOT / "docs" / "performance-ratio.svg"
# The order of the sections; others follow by name.
ORDER = ("sending", "rivals", "processes", "growth", "plan", "report", "verify", "startup")

_HEAD = """# Performance

<!-- Made by `python -m benchmarks.performance` from benchmarks/results/; `make bench` measures and makes it anew. -->

Caps must not cost speed. What follows is measured on one machine by programs in `benchmarks/` that anybody can run
again: `make bench` takes about ten minutes. Times depend on the machine, so look at the ratios: in every round all
programs took turns on the same pictures and the same endpoint, which is a process of its own. What was not reached is
said, too.

What was done, and what is in the way of more, is told apart: [governing a picture](performance-ledger.md),
[sending it and keeping what came](performance-sending.md), [planning and starting](performance-planning.md),
[verifying and reporting](performance-reports.md).
"""


def sections() -> list[dict[str, Any]]:
    """What was kept, in the order of the page."""
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in measured.RESULTS.glob("*.json")}
    names = [*(name for name in ORDER if name in found), *sorted(set(found) - set(ORDER))]
    return [found[name] for name in names]


def write() -> None:
    """Write the page and its picture."""
    found = sections()
    curves = [section["curve"] for section in found if section.get("curve")]
    if curves:
        PICTURE.write_text(_picture(curves[0]), encoding="utf-8")
    PAGE.write_text(page(found, picture=bool(curves)), encoding="utf-8")
    print(f"written: {PAGE.relative_to(measured.ROOT)}")


def page(sections: Sequence[Mapping[str, Any]], *, picture: bool) -> str:
    """The page as Markdown."""
    parts = [_HEAD, "## Against the goals\n"]
    goals = [goal for section in sections for goal in section["goals"]]
    parts.append(_markdown([["work", "against", "goal", "measured", ""], *goals]))
    if picture:
        parts.append(f"![Pictures a second against the plain script, by how many are in flight]({PICTURE.name})\n")
    for section in sections:
        parts.append(f"## {section['title']}\n")
        parts.append(
            f"`{section['command']}` · commit {section['commit']} · {section['at']} · {section['machine']} · "
            f"{section['system']}\n"
        )
        parts.append(section["notes"].rstrip("\n") + "\n")
        for table in section["tables"]:
            parts.append(f"**{table['title']}**\n")
            parts.append(_markdown(table["rows"]))
    return "\n".join(parts)


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *rest = rows
    numbers = [n > 0 and all(row[n][:1].isdigit() or row[n] in ("", "–") for row in rest) for n in range(len(head))]
    lines = [
        "| " + " | ".join(head) + " |",
        "|" + "|".join("---:" if number else "---" for number in numbers) + "|",
        *("| " + " | ".join(row) + " |" for row in rest),
    ]
    return "\n".join(lines) + "\n"


def _picture(curve: Mapping[str, float]) -> str:
    return svg.bars(
        title="Pictures a second of a governed run, against the plain script with a Session",
        under="in flight; 20 KB → 80 KB, 20 ms latency, whole commands",
        values={str(in_flight): ratio for in_flight, ratio in curve.items()},
        line=1.0,
        line_name="plain script",
    )


if __name__ == "__main__":
    write()
