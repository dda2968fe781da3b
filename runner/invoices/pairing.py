"""Which attempt and which line are the same request, when only time tells.

An attempt is an interval, a line a moment; they fit when the moment is inside, or at most `within` outside. Of what
fits, no attempt and no line are both left over. In time of n log n.
"""

import heapq
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.invoices.matching import Ours, Theirs

Pairs = list[tuple["Ours", "Theirs"]]


def pairs(ours: "Sequence[Ours]", theirs: "Sequence[Theirs]", within: int) -> Pairs:
    """The nearest first, or the most there can be, where that is not much farther: a pair more is worth 2 × `within`.

    So of many alike, the one that has no line is the one that is named; and a lost line and one too many, hours apart,
    are not made one by moving every pair between them.
    """
    found: Pairs = []
    for mine, lines in _islands(ours, theirs, within):
        ways = [_filled(_nearest(mine, lines, within, late=late), mine, lines, within) for late in (True, False)]
        ways.append(_most(mine, lines, within))
        costs = [_cost(way, within) for way in ways]
        found += ways[costs.index(min(costs))]
    return found


def _cost(way: Pairs, within: int) -> int:
    far = sum(min(abs(line.at - one.first), abs(line.at - one.last), within) for one, line in way)
    return far - 2 * within * len(way)


def _filled(found: Pairs, ours: "Sequence[Ours]", theirs: "Sequence[Theirs]", within: int) -> Pairs:
    """With the pairs that what is left over makes."""
    taken, used = {one.attempt_id for one, _ in found}, {line.number for _, line in found}
    left = [one for one in ours if one.attempt_id not in taken]
    return found + _most(left, [line for line in theirs if line.number not in used], within)


def _islands(
    ours: "Sequence[Ours]", theirs: "Sequence[Theirs]", within: int
) -> "Iterator[tuple[list[Ours], list[Theirs]]]":
    """Attempts whose times, widened, overlap, each with the lines in them; lines of no attempt are left out."""
    lines = sorted(theirs, key=lambda line: (line.at, line.micros, line.number))
    at = 0
    island: list[Ours] = []
    end = 0
    for one in [*sorted(ours, key=lambda one: (one.first, one.last, one.attempt_id)), None]:
        if island and (one is None or one.first - within > end):
            begin = island[0].first - within
            while at < len(lines) and lines[at].at < begin:
                at += 1
            inside = at
            while inside < len(lines) and lines[inside].at <= end:
                inside += 1
            if inside > at:
                yield island, lines[at:inside]
            at = inside
            island = []
        if one is not None:
            end = max(end, one.last + within) if island else one.last + within
            island.append(one)


def _most(ours: "Sequence[Ours]", theirs: "Sequence[Theirs]", within: int) -> Pairs:
    """The most pairs: each line, in the order of time, takes the attempt that can wait the shortest (Glover, 1967)."""
    found: Pairs = []
    waiting: list[tuple[int, int, int]] = []
    begun = 0
    for line in theirs:
        while begun < len(ours) and ours[begun].first - within <= line.at:
            heapq.heappush(waiting, (ours[begun].last, ours[begun].first, begun))
            begun += 1
        while waiting and waiting[0][0] + within < line.at:
            heapq.heappop(waiting)
        if waiting:
            found.append((ours[heapq.heappop(waiting)[2]], line))
    return found


def _nearest(ours: "Sequence[Ours]", theirs: "Sequence[Theirs]", within: int, *, late: bool) -> Pairs:
    """The nearest two first, then the nearest of what is left, and so on. `late`: nearest to when the attempt ended."""
    line_up: list[tuple[int, bool, int]] = [
        *((one.last if late else one.first, False, number) for number, one in enumerate(ours)),
        *((line.at, True, number) for number, line in enumerate(theirs)),
    ]
    line_up.sort()
    # The nearest two of what is left always stand side by side: a list whose members leave, and a heap of neighbours.
    before = list(range(-1, len(line_up) - 1))
    after = [*range(1, len(line_up)), -1]
    gone = bytearray(len(line_up))
    heap: list[tuple[int, int, int]] = []

    def meet(left: int, right: int) -> None:
        if left >= 0 and right >= 0 and line_up[left][1] != line_up[right][1]:
            heapq.heappush(heap, (line_up[right][0] - line_up[left][0], left, right))

    for right in range(1, len(line_up)):
        meet(right - 1, right)
    found: Pairs = []
    while heap:
        _, left, right = heapq.heappop(heap)
        if gone[left] or gone[right]:
            continue
        a, b = (left, right) if line_up[right][1] else (right, left)
        one, line = ours[line_up[a][2]], theirs[line_up[b][2]]
        if not one.first - within <= line.at <= one.last + within:
            continue
        found.append((one, line))
        gone[left] = gone[right] = 1
        outer_left, outer_right = before[left], after[right]
        if outer_left >= 0:
            after[outer_left] = outer_right
        if outer_right >= 0:
            before[outer_right] = outer_left
        meet(outer_left, outer_right)
    return found
