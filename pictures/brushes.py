"""Brushes for the demo pictures: gradients, glows, ridges, grain. Pillow and a seeded random.Random only."""

import itertools
import math
import random
from collections.abc import Sequence

from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageOps

Colour = tuple[int, int, int]
Size = tuple[int, int]

# Everything is painted larger and reduced at the end, so that edges come out soft as in a photograph.
SCALE = 3


def dice(name: str) -> random.Random:
    """The random numbers of one picture: the same at every run."""
    return random.Random(name)  # noqa: S311 - paint, not secrets


def canvas(width: int, height: int, colour: Colour = (0, 0, 0)) -> Image.Image:
    """An empty picture that will be `width` × `height` once reduced."""
    return Image.new("RGB", (width * SCALE, height * SCALE), colour)


def finished(picture: Image.Image) -> Image.Image:
    """The picture at its final size."""
    return picture.resize((picture.width // SCALE, picture.height // SCALE), Image.Resampling.LANCZOS)


def gradient(size: Size, stops: Sequence[tuple[float, Colour]]) -> Image.Image:
    """Colours from top to bottom; a stop is a height (0 top, 1 bottom) and its colour."""
    height = size[1]
    column = Image.new("RGB", (1, height))
    column.putdata([_between(stops, y / max(1, height - 1)) for y in range(height)])
    return column.resize(size)


def _between(stops: Sequence[tuple[float, Colour]], at: float) -> Colour:
    for (low, first), (high, second) in itertools.pairwise(stops):
        if at <= high:
            share = 0.0 if high == low else max(0.0, (at - low) / (high - low))
            share = share * share * (3 - 2 * share)
            return mixed(first, second, share)
    return stops[-1][1]


def mixed(first: Colour, second: Colour, share: float) -> Colour:
    """`share` 0 is the first colour, 1 the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def noise(size: Size, cells: Size, rng: random.Random) -> Image.Image:
    """Smooth grey noise with that many cells across and down."""
    small = Image.frombytes("L", cells, rng.randbytes(cells[0] * cells[1]))
    return small.resize(size, Image.Resampling.BICUBIC)


def clouds(size: Size, cells: Size, rng: random.Random, octaves: int = 4) -> Image.Image:
    """Grey noise of several sizes, the finer the fainter: clouds, fog, stone."""
    result = noise(size, cells, rng)
    for octave in range(1, octaves):
        finer = noise(size, (cells[0] << octave, cells[1] << octave), rng)
        result = Image.blend(result, finer, 0.5 / (octave + 0.6))
    return ImageOps.autocontrast(result, cutoff=1)


def levels(mask: Image.Image, low: int, high: int, most: float = 1.0) -> Image.Image:
    """The mask with everything under `low` black and everything over `high` at `most` of white."""
    return mask.point([round(255 * most * min(1.0, max(0.0, (v - low) / (high - low)))) for v in range(256)])


def lay(picture: Image.Image, colour: Colour, mask: Image.Image) -> None:
    """Paint one colour where the mask is bright."""
    picture.paste(colour, (0, 0), mask)


def glow(
    picture: Image.Image,
    at: tuple[float, float],
    radius: float,
    colour: Colour,
    strength: float = 1.0,
    flat: float = 1.0,
) -> None:
    """Light around a point, added to what is there. `flat` below 1 squeezes it vertically."""
    width, height = max(2, round(radius * 2)), max(2, round(radius * 2 * flat))
    fall = [255 * strength * (1 - v / 255) ** 2.2 for v in range(256)]
    round_mask = Image.radial_gradient("L").resize((width, height)).point([round(v) for v in fall])
    mask = Image.new("L", picture.size)
    mask.paste(round_mask, (round(at[0] - width / 2), round(at[1] - height / 2)))
    light = Image.new("RGB", picture.size, colour)
    black = Image.new("RGB", picture.size)
    picture.paste(ImageChops.screen(picture, Image.composite(light, black, mask)))


def ridge(width: int, rng: random.Random, base: float, height: float, waves: int, jagged: float = 0.5) -> list[float]:
    """The skyline of a range of hills: a y for each x, from `base` up to `height` above it."""
    parts = [
        (jagged**n * rng.uniform(0.7, 1.0), waves * 2**n * rng.uniform(0.8, 1.25), rng.uniform(0, 6.3))
        for n in range(8)
    ]
    line = [sum(a * (1 - abs(math.sin(f * x / width * math.pi + p))) for a, f, p in parts) for x in range(width)]
    low, high = min(line), max(line)
    return [base - height * (v - low) / (high - low) for v in line]


def under(picture: Image.Image, line: Sequence[float], bottom: float) -> Image.Image:
    """The mask of all that lies under a line and above `bottom`."""
    mask = Image.new("L", picture.size)
    edge = [(x, y) for x, y in enumerate(line)]
    ImageDraw.Draw(mask).polygon([*edge, (len(line), bottom), (0, bottom)], fill=255)
    return mask


def placed(mask: Image.Image, size: tuple[int, int]) -> Image.Image:
    whole = Image.new("L", size)
    whole.paste(mask, (0, 0))
    return whole


def ellipse(size: tuple[int, int], box: tuple[float, float, float, float]) -> Image.Image:
    mask = Image.new("L", size)
    left, top, right, bottom = box
    ImageDraw.Draw(mask).ellipse((left * size[0], top * size[1], right * size[0], bottom * size[1]), fill=255)
    return mask


def mirror(picture: Image.Image, horizon: int, dim: float = 0.72) -> None:
    """Fill what lies under the horizon with the reflection of what lies above."""
    width, height = picture.size
    above = picture.crop((0, max(0, 2 * horizon - height), width, horizon))
    below = ImageOps.flip(above).resize((width, height - horizon))
    below = ImageEnhance.Brightness(below.filter(ImageFilter.GaussianBlur(3))).enhance(dim)
    picture.paste(below, (0, horizon))


def fir(draw: ImageDraw.ImageDraw, x: float, foot: float, high: float, colour: Colour) -> None:
    draw.line((x, foot, x, foot - high), fill=colour, width=max(2, round(high / 30)))
    layers = 6
    for layer in range(layers):
        top = foot - high + high * 0.8 * layer / layers
        wide = high * (0.07 + 0.17 * (layer + 1) / layers)
        draw.polygon([(x, top), (x - wide, top + high * 0.26), (x + wide, top + high * 0.26)], fill=colour)


def soft(mask: Image.Image, radius: float) -> Image.Image:
    """The mask with blurred edges."""
    return mask.filter(ImageFilter.GaussianBlur(radius))


def ripples(picture: Image.Image, top: int, rng: random.Random, strength: float) -> None:
    """Break a reflection under `top` into ripples: rows shifted sideways, wider nearer to the viewer."""
    width, height = picture.size
    phases = [rng.uniform(0, 6.3) for _ in range(3)]
    for y in range(top, height):
        depth = (y - top) / (height - top)
        wave = sum(math.sin(y * f / (1 + 2 * depth) + p) for f, p in zip((0.9, 0.47, 0.21), phases, strict=True))
        shift = round(strength * SCALE * (0.3 + 2 * depth) * (wave + rng.uniform(-0.5, 0.5)))
        row = picture.crop((0, y, width, y + 1))
        picture.paste(ImageChops.offset(row, shift, 0), (0, y))


def grain(picture: Image.Image, rng: random.Random, amount: float) -> Image.Image:
    """The picture with film grain: brightness noise, `amount` in levels of 255."""
    size = picture.size
    speckle = Image.blend(
        Image.frombytes("L", size, rng.randbytes(size[0] * size[1])),
        Image.frombytes("L", size, rng.randbytes(size[0] * size[1])),
        0.5,
    ).filter(ImageFilter.GaussianBlur(0.5))
    plus = speckle.point([max(0, round((v - 128) * amount / 40)) for v in range(256)])
    minus = speckle.point([max(0, round((128 - v) * amount / 40)) for v in range(256)])
    if picture.mode == "RGB":
        plus, minus = (Image.merge("RGB", (mask, mask, mask)) for mask in (plus, minus))
    return ImageChops.subtract(ImageChops.add(picture, plus), minus)


def vignette(picture: Image.Image, strength: float) -> Image.Image:
    """The picture with darker corners."""
    mask = Image.radial_gradient("L").resize(picture.size)
    dark = mask.point([round(255 - 255 * strength * (v / 255) ** 2.5) for v in range(256)])
    shade = Image.merge("RGB", (dark, dark, dark)) if picture.mode == "RGB" else dark
    return ImageChops.multiply(picture, shade)


def aged(picture: Image.Image, rng: random.Random, border: int) -> Image.Image:
    """A grey picture as an old print on the scanner: faded, scratched, dusty, with a paper border."""
    faded = picture.point([round(38 + v * 0.78) for v in range(256)])
    width, height = faded.size
    marks = Image.new("L", (width * SCALE, height * SCALE))
    draw = ImageDraw.Draw(marks)
    for _ in range(9):
        x, y = rng.uniform(0, marks.width), rng.uniform(0, marks.height)
        path = [(x, y)]
        for _ in range(rng.randint(4, 12)):
            x, y = x + rng.gauss(0, 3), y + rng.uniform(8, 26)
            path.append((x, y))
        draw.line(path, fill=rng.randint(90, 220), width=rng.choice((1, 1, 2)))
    for _ in range(60):
        x, y, r = rng.uniform(0, marks.width), rng.uniform(0, marks.height), rng.uniform(0.6, 2.4)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=rng.randint(80, 210))
    faded.paste(236, (0, 0), marks.resize(faded.size, Image.Resampling.LANCZOS))
    fold = Image.new("L", faded.size)
    fold_y = round(height * rng.uniform(0.6, 0.8))
    ImageDraw.Draw(fold).line([(0, fold_y), (width * 0.5, fold_y - 3), (width, fold_y + 2)], fill=120, width=1)
    faded.paste(230, (0, 0), soft(fold, 0.6))
    worn = grain(faded, rng, 9)
    paper = grain(Image.new("L", (width + 2 * border, height + 2 * border), 226), rng, 3)
    paper.paste(worn, (border, border))
    return paper
