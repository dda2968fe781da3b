"""How `omixa graph` writes a recipe: as lines of text, as Mermaid, and as SVG."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.declared import shown_path
from runner.recipe import Recipe, Step
from runner.reports.html.markup import Markup, element
from runner.terminal import clean, counted


@dataclass(frozen=True, slots=True)
class Node:
    """A folder that pictures are read from, or a step. `lines`: what is said of it, its name first."""

    name: str
    lines: Sequence[str]
    is_folder: bool


@dataclass(frozen=True, slots=True)
class Graph:
    """A recipe to be drawn. `arrows`: positions of nodes, from and to; what an arrow comes from stands before."""

    title: str
    nodes: Sequence[Node]
    arrows: Sequence[tuple[int, int]]

    def into(self, at: int) -> list[int]:
        """Where the arrows into a node come from."""
        return [first for first, then in self.arrows if then == at]

    def out_of(self, at: int) -> list[int]:
        """Where the arrows out of a node lead."""
        return [then for first, then in self.arrows if first == at]


def graph_of(recipe: Recipe, root: Path, counts: Mapping[str, int], remarks: Mapping[str, str]) -> Graph:
    """The recipe as nodes and arrows. `counts`: pictures of each step; `remarks`: what else is said of it."""
    nodes: list[Node] = []
    arrows: list[tuple[int, int]] = []
    folders: dict[str, int] = {}
    steps: dict[str, int] = {}
    for step in recipe.steps:
        froms = [steps[step.origin]] if step.origin is not None else []
        for source in step.sources:
            if source.folder is None:
                continue
            name = shown_path(source.folder, root)
            if name not in folders:
                folders[name] = len(nodes)
                nodes.append(Node(name, [name], True))
            froms.append(folders[name])
        at = steps[step.name] = len(nodes)
        nodes.append(_node(recipe, step, root, counts[step.name], remarks.get(step.name)))
        arrows += [(first, at) for first in dict.fromkeys(froms)]
    return Graph(f"{recipe.name} · workspace {recipe.workspace}", nodes, arrows)


def _node(recipe: Recipe, step: Step, root: Path, count: int, remark: str | None) -> Node:
    name = step.name or recipe.name
    lines = [name, step.model]
    for what, named in (
        ("prompt", dict.fromkeys(one for source in step.sources for one in source.prompts if one)),
        ("preset", dict.fromkeys(one for source in step.sources for one in source.presets if one)),
    ):
        if named:
            lines.append(f"{what} {', '.join(named)}")
    lines.append(f"{counted(count, 'picture')} → {shown_path(step.output.folder, root)}")
    return Node(name, [*lines, *([remark] if remark else [])], False)


# ---- text


def as_text(graph: Graph) -> str:
    """One line a node, what is made of it below it. A step that reads several folders says the others in its line."""
    lines = [clean(graph.title)]
    roots = [at for at in range(len(graph.nodes)) if not graph.into(at)]
    for number, at in enumerate(roots):
        lines += _branch(graph, at, "", is_last=number == len(roots) - 1)
    return "\n".join(lines) + "\n"


def _branch(graph: Graph, at: int, indent: str, *, is_last: bool) -> Iterator[str]:
    node = graph.nodes[at]
    also = [graph.nodes[one].name for one in graph.into(at)[1:]]
    told = [*node.lines, *([f"also of {', '.join(also)}"] if also else [])]
    yield clean(f"{indent}{'└─' if is_last else '├─'} {' · '.join(told)}")
    # Under the first that it is made of, and nowhere else.
    made = [one for one in graph.out_of(at) if graph.into(one)[0] == at]
    for number, one in enumerate(made):
        yield from _branch(graph, one, indent + ("   " if is_last else "│  "), is_last=number == len(made) - 1)


# ---- Mermaid


def as_mermaid(graph: Graph) -> str:
    """A Mermaid flowchart, as GitHub and GitLab draw it in Markdown."""
    lines = ["---", f"title: {_quoted(graph.title)}", "---", "flowchart LR"]
    for at, node in enumerate(graph.nodes):
        label = "<br/>".join(_label(line) for line in node.lines)
        left, right = ('[/"', '"/]') if node.is_folder else ('["', '"]')
        lines.append(f"  n{at}{left}{label}{right}")
    lines += [f"  n{first} --> n{then}" for first, then in graph.arrows]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return '"' + clean(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _label(text: str) -> str:
    """Text that Mermaid takes for nothing else: what is not a letter, a digit or harmless becomes `#35;`."""
    return "".join(c if c.isalnum() or c in " ._-/,·→" else f"#{ord(c)};" for c in clean(text))


# ---- SVG

_WIDTH, _GAP, _LINE, _PAD = 300, 60, 17, 12
_CHARACTERS = 42  # of a line in a box; the whole text is in its title

_STYLE = Markup(
    ".box{fill:#f6f8fa;stroke:#57606a}.folder{fill:#fff8e5}.arrow{fill:none;stroke:#57606a;stroke-width:1.5}.tip{fill:#57606a}"
    "text{font:13px sans-serif;fill:#1f2328}.name{font-weight:600}"
    "@media (prefers-color-scheme:dark){.box{fill:#22272e;stroke:#adbac7}.folder{fill:#3b3223}"
    ".arrow{stroke:#adbac7}text{fill:#e6edf3}.tip{fill:#adbac7}}"
)


def as_svg(graph: Graph) -> str:
    """A picture that needs nothing else, in light and dark."""
    columns = _columns(graph)
    places: dict[int, tuple[int, int]] = {}
    bottom = [_PAD + _LINE + _PAD] * (max(columns) + 1)
    for at, column in enumerate(columns):
        # Not above what it comes from, so that a straight line stays one.
        top = max([bottom[column], *(places[first][1] for first in graph.into(at))])
        places[at] = _PAD + column * (_WIDTH + _GAP), top
        bottom[column] = top + _height(graph.nodes[at]) + _PAD
    width = _PAD * 2 + (max(columns) + 1) * _WIDTH + max(columns) * _GAP
    inside = [
        element("title", graph.title),
        element("style", _STYLE),
        element("defs", _tip()),
        element("text", graph.title, x=_PAD, y=_PAD + _LINE - 3, class_="name"),
        *(_box(node, *places[at]) for at, node in enumerate(graph.nodes)),
        *(_arrow(places, first, then) for first, then in graph.arrows),
    ]
    namespace = "http://www.w3.org/2000/svg"
    box = f"0 0 {width} {max(bottom)}"
    return element("svg", *inside, xmlns=namespace, viewBox=box, width=width, height=max(bottom), role="img") + "\n"


def _columns(graph: Graph) -> list[int]:
    """How far from the left each node stands: behind all that it comes from."""
    found: list[int] = []
    for at in range(len(graph.nodes)):
        found.append(max((found[first] + 1 for first in graph.into(at)), default=0))
    return found


def _height(node: Node) -> int:
    return 2 * _PAD + _LINE * len(node.lines)


def _box(node: Node, x: int, y: int) -> Markup:
    words = [
        element(
            "text",
            line if len(line) <= _CHARACTERS else line[: _CHARACTERS - 1] + "…",
            x=x + _PAD,
            y=y + _PAD + _LINE * number + 13,
            class_=None if number else "name",
        )
        for number, line in enumerate(node.lines)
    ]
    frame = element(
        "rect",
        x=x,
        y=y,
        width=_WIDTH,
        height=_height(node),
        rx=2 if node.is_folder else 8,
        class_="box folder" if node.is_folder else "box",
    )
    return element("g", element("title", "; ".join(node.lines)), frame, *words)


def _arrow(places: Mapping[int, tuple[int, int]], first: int, then: int) -> Markup:
    (x1, y1), (x2, y2) = places[first], places[then]
    # At the height of the names, so that what stands side by side is joined by a straight line.
    x1, y1, y2 = x1 + _WIDTH, y1 + _PAD + _LINE // 2, y2 + _PAD + _LINE // 2
    middle = x1 + _GAP // 2 if x2 - x1 <= _GAP else x2 - _GAP // 2
    way = f"M {x1} {y1} C {middle} {y1} {middle} {y2} {x2 - 2} {y2}"
    return element("path", d=way, class_="arrow", marker_end="url(#tip)")


def _tip() -> Markup:
    shape = element("path", d="M 0 0 L 8 4 L 0 8 z", class_="tip")
    return element(
        "marker", shape, id="tip", viewBox="0 0 8 8", refX=7, refY=4, markerWidth=8, markerHeight=8, orient="auto"
    )


WRITERS: dict[str, Callable[[Graph], str]] = {"text": as_text, "mermaid": as_mermaid, "svg": as_svg}
