"""Charts as plain SVG, made of rectangles in whole numbers: no script, and patterns tell apart what colours do.

Widths are shares of a hundred, so that a chart fits any page while its text keeps its size; heights are pixels.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from runner.money import short
from runner.reports.html.markup import Markup, element

HEIGHT, ROOM_ABOVE, ROOM_BELOW = 150, 16, 22
LABELS_MAX = 5
# What is left of a bar that is nearly nothing: hundredths of a pixel, and of a hundredth.
_SEEN_HEIGHT, _SEEN_WIDTH = 150, 40

# The parts of a bar, from the axis outwards, and what the legend calls them. Patterns, not colours, tell them apart.
PARTS = (("settled", "settled: billed"), ("open", "open: may still be billed"), ("unknown", "unknown: no answer came"))

# The patterns of all charts on a page; they are made once, and referred to.
PATTERNS = element(
    "svg",
    element(
        "pattern",
        element("rect", width=7, height=7, class_="open-ground"),
        element("path", d="M-1 8 8 -1M-1 1 1 -1M6 8 8 6", class_="open-lines"),
        id="pattern-open",
        width=7,
        height=7,
        patternUnits="userSpaceOnUse",
    ),
    element(
        "pattern",
        element("rect", width=6, height=6, class_="unknown-ground"),
        element("circle", cx=3, cy=3, r="1.4", class_="unknown-dots"),
        id="pattern-unknown",
        width=6,
        height=6,
        patternUnits="userSpaceOnUse",
    ),
    class_="patterns",
    width=0,
    height=0,
    aria_hidden="true",
)


@dataclass(frozen=True, slots=True)
class Amounts:
    """What a bar is made of, in micro-units of one currency; nothing is in two of them."""

    settled: int = 0
    open: int = 0
    unknown: int = 0

    @property
    def total(self) -> int:
        """The length of the bar. What a correction takes out, which is below zero, has none."""
        return max(0, self.settled) + max(0, self.open) + max(0, self.unknown)

    def __add__(self, other: "Amounts") -> "Amounts":
        return Amounts(self.settled + other.settled, self.open + other.open, self.unknown + other.unknown)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a chart over time. None amounts: nothing is drawn. `cap_micros`: a line across it; None: no cap."""

    label: str
    amounts: Amounts | None
    tip: str
    cap_micros: int | None = None


def legend() -> Markup:
    """What the patterns mean."""
    return element(
        "ul",
        *(
            element("li", element("svg", _rect(kind, "0", "0", "100%", "100%"), width=16, height=12), f" {words}")
            for kind, words in PARTS
        ),
        element("li", element("svg", _line("0", "6", "100%", "6", "cap"), width=16, height=12), " cap"),
        class_="legend",
        aria_hidden="true",
    )


def bar(amounts: Amounts, whole: int, *, cap_micros: int | None = None) -> Markup:
    """One lying bar; `whole` is its full width, in micro-units. A cap is its frame, and a line where it is passed."""
    parts = []
    at = 0
    for kind, micros in _parts(amounts):
        width = max(_share(micros, whole), _SEEN_WIDTH)
        parts.append(_rect(kind, _percent(at), "0", _percent(min(width, 10_000 - at)), "100%"))
        at += width
    if cap_micros is not None:
        end = _percent(_share(cap_micros, whole))
        parts.insert(0, element("rect", class_="room", x=0, y=0, width=end, height="100%"))
        if amounts.total > cap_micros:
            parts.append(_line(end, "0", end, "100%", "cap"))
    return element("svg", *parts, class_="bar", width="100%", height=14, aria_hidden="true")


def fits(cap_micros: int, highest_micros: int) -> bool:
    """Whether a cap is drawn over single columns: one that is far away would make them all flat."""
    return cap_micros <= 3 * highest_micros


def columns(shown: Sequence[Column], *, says: str, joined_up: bool = False) -> Markup:
    """Columns over time with an axis of amounts. `says` is what a screen reader is told.

    `joined_up`: without gaps, for sums that go on. A cap that would flatten everything lies outside, and is no line.
    """
    highest = max((column.amounts.total for column in shown if column.amounts is not None), default=0)
    caps = [column.cap_micros for column in shown if column.cap_micros is not None]
    if joined_up or fits(max(caps, default=0), highest):
        highest = max([highest, *caps])
    step, top = _scale(highest)
    ground = ROOM_ABOVE + HEIGHT
    ticks = range(0, top + 1, step)
    axis = element(
        "svg",
        *(
            element("text", short(micros), x="100%", y=_pixels(ground * 100 - _height(micros, top) + 400))
            for micros in ticks
        ),
        class_="axis",
        width=_axis_width(ticks),
        height=ground + ROOM_BELOW,
        aria_hidden="true",
    )
    lines = [_across(ground * 100 - _height(micros, top), "grid" if micros else "ground") for micros in ticks]
    plot = element(
        "svg",
        *lines,
        *_drawn(shown, top, ground, joined_up),
        *_caps(shown, top, ground),
        *_labels(shown, ground + 16),
        class_="plot joined" if joined_up else "plot",
        width="100%",
        height=ground + ROOM_BELOW,
        role="img",
        aria_label=says,
    )
    return element("div", axis, plot, class_="chart")


def _drawn(shown: Sequence[Column], top: int, ground: int, joined_up: bool) -> Iterator[Markup]:
    for number, column in enumerate(shown):
        if column.amounts is None or not column.amounts.total:
            continue
        left, right = _edges(number, len(shown), 0 if joined_up else 12)
        inside = [element("title", column.tip)]
        at = ground * 100
        for kind, micros in _parts(column.amounts):
            height = max(_height(micros, top), _SEEN_HEIGHT)
            at -= height
            inside.append(_rect(kind, _percent(left), _pixels(at), _percent(right - left), _pixels(height)))
        yield element("g", *inside)


def _caps(shown: Sequence[Column], top: int, ground: int) -> Iterator[Markup]:
    """A line over each run of columns with the same cap, and its amount at the end of the last."""
    last = {column.cap_micros: number for number, column in enumerate(shown)}
    at = 0
    while at < len(shown):
        cap, first = shown[at].cap_micros, at
        while at < len(shown) and shown[at].cap_micros == cap:
            at += 1
        if cap is None or cap > top:
            continue
        y = ground * 100 - _height(cap, top)
        start, end = _edges(first, len(shown), 0)[0], _edges(at - 1, len(shown), 0)[1]
        yield _line(_percent(start), _pixels(y), _percent(end), _pixels(y), "cap")
        if last[cap] == at - 1:
            yield element("text", f"cap {short(cap)}", x=_percent(end), y=_pixels(y - 400), class_="cap-text")


def _labels(shown: Sequence[Column], y: int) -> Iterator[Markup]:
    every = max(1, -(-len(shown) // LABELS_MAX))
    for number in range(0, len(shown), every):
        left, right = _edges(number, len(shown), 0)
        anchor = "start" if number == 0 and len(shown) > 1 else "middle"
        middle = left if anchor == "start" else (left + right) // 2
        yield element("text", shown[number].label, x=_percent(middle), y=y, class_=f"tick {anchor}")


def _edges(number: int, count: int, gap_percent: int) -> tuple[int, int]:
    """Where a column begins and ends, in hundredths of a hundredth; one alone does not fill the whole chart."""
    slots = max(count, 7)
    before = (slots - count) * 10_000 // slots // 2
    left, right = before + number * 10_000 // slots, before + (number + 1) * 10_000 // slots
    gap = (right - left) * gap_percent // 100
    return left + gap, right - gap


def _scale(highest: int) -> tuple[int, int]:
    """The step between two lines of the axis, 1, 2 or 5 with noughts, and the axis' end: at most five lines."""
    wanted = max(highest, 1000)
    unit = 1
    while True:
        for digit in (1, 2, 5):
            step = digit * unit
            if 4 * step >= wanted:
                return step, step * -(-wanted // step)
        unit *= 10


def _axis_width(ticks: Iterable[int]) -> int:
    """Room for the longest amount beside the axis, in pixels."""
    return 8 + 7 * max(len(short(micros)) for micros in ticks)


def _parts(amounts: Amounts) -> list[tuple[str, int]]:
    told = (("settled", amounts.settled), ("open", amounts.open), ("unknown", amounts.unknown))
    return [(kind, micros) for kind, micros in told if micros > 0]


def _share(part: int, whole: int) -> int:
    """A share in hundredths of a hundredth: 10 000 is all."""
    return 10_000 * part // whole if whole else 0


def _height(micros: int, top: int) -> int:
    return 100 * HEIGHT * micros // top


def _percent(hundredths: int) -> str:
    return f"{hundredths // 100}.{hundredths % 100:02d}%"


def _pixels(hundredths: int) -> str:
    return f"{hundredths // 100}.{hundredths % 100:02d}"


def _rect(kind: str, x: str, y: str, width: str, height: str) -> Markup:
    return element("rect", class_=kind, x=x, y=y, width=width, height=height)


def _line(x1: str, y1: str, x2: str, y2: str, kind: str) -> Markup:
    return element("line", class_=kind, x1=x1, y1=y1, x2=x2, y2=y2)


def _across(y: int, kind: str) -> Markup:
    return _line("0", _pixels(y), "100%", _pixels(y), kind)
