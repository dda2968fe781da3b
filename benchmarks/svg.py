"""A chart as SVG that can be read on light and on dark ground, and by who cannot see it."""

from collections.abc import Mapping
from html import escape

_WIDTH, _HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 96, 48, 56


def bars(*, title: str, under: str, values: Mapping[str, float], line: float, line_name: str) -> str:
    """One bar a value, from zero, each with its figure above it; and a line at what they are compared with."""
    step = _step(max([*values.values(), line]))
    top = step * (int(max([*values.values(), line]) * 1.05 / step) + 1)
    wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def y(value: float) -> float:
        return round(_TOP + high * (1 - value / top), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-labelledby="t d">',
        f'<title id="t">{escape(title)}</title>',
        f'<desc id="d">{escape("; ".join(f"{name}: {value:.2f}" for name, value in values.items()))}</desc>',
        # A ground of its own, so that it can be read on any page.
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" rx="6" fill="#ffffff"/>',
        '<g font-family="system-ui, sans-serif" font-size="13" fill="#1f2933">',
        f'<text x="16" y="26" font-size="14" font-weight="600">{escape(title)}</text>',
    ]
    for n in range(round(top / step) + 1):
        at = y(n * step)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at}" y2="{at}" stroke="#e4e7eb"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{at + 4}" text-anchor="end">{n * step:g}</text>')
    room = wide / len(values)
    for n, (name, value) in enumerate(values.items()):
        middle = round(_LEFT + room * (n + 0.5), 1)
        bar = round(room * 0.56, 1)
        parts.append(
            f'<rect x="{round(middle - bar / 2, 1)}" y="{y(value)}" width="{bar}" height="{round(y(0) - y(value), 1)}" '
            'fill="#2563a8"/>'
        )
        parts.append(f'<text x="{middle}" y="{y(value) - 6}" text-anchor="middle" font-weight="600">{value:.2f}</text>')
        parts.append(f'<text x="{middle}" y="{_HEIGHT - _BOTTOM + 20}" text-anchor="middle">{escape(name)}</text>')
    parts.append(
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(line)}" y2="{y(line)}" stroke="#b42318" stroke-width="1.5" '
        'stroke-dasharray="5 4"/>'
    )
    parts.append(f'<text x="{_WIDTH - _RIGHT + 6}" y="{y(line) + 4}" fill="#b42318">{escape(line_name)}</text>')
    parts.append(f'<text x="{_LEFT}" y="{_HEIGHT - 14}">{escape(under)}</text>')
    return "\n".join([*parts, "</g>", "</svg>", ""])


def _step(highest: float) -> float:
    """Between two lines, so that there are at most six of them above zero."""
    return next(step for step in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 1000) if highest / step <= 6)
