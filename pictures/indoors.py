"""Demo pictures from indoors: a portrait and a still life. Each function returns one picture at its final size."""

import math

from brushes import (
    Colour,
    aged,
    canvas,
    clouds,
    dice,
    ellipse,
    finished,
    glow,
    gradient,
    grain,
    lay,
    levels,
    mixed,
    soft,
    vignette,
)
from PIL import Image, ImageChops, ImageDraw, ImageOps


def portrait_scan() -> Image.Image:
    """A lady in profile on an old card: oval mount, scratches, a fold."""
    rng = dice("portrait")
    picture = canvas(200, 260, (150, 150, 150))
    width, height = picture.size
    picture.paste(gradient(picture.size, [(0, (176, 176, 176)), (1, (96, 96, 96))]))
    glow(picture, (width * 0.38, height * 0.36), width * 0.7, (200, 200, 200), 0.7)
    bust = Image.new("L", picture.size)
    draw = ImageDraw.Draw(bust)
    profile = [
        (0.42, 0.30),
        (0.405, 0.35),
        (0.40, 0.385),
        (0.375, 0.425),
        (0.365, 0.445),
        (0.385, 0.455),
        (0.392, 0.47),
        (0.380, 0.485),
        (0.392, 0.495),
        (0.384, 0.512),
        (0.402, 0.525),
        (0.400, 0.555),
        (0.425, 0.572),
        (0.475, 0.57),
        (0.50, 0.60),
        (0.50, 0.66),
        (0.43, 0.72),
        (0.28, 0.77),
        (0.19, 0.85),
        (0.16, 1.0),
        (0.86, 1.0),
        (0.84, 0.86),
        (0.77, 0.77),
        (0.66, 0.71),
        (0.635, 0.65),
        (0.645, 0.56),
        (0.69, 0.50),
        (0.70, 0.38),
        (0.64, 0.28),
        (0.52, 0.25),
    ]
    draw.polygon([(x * width, y * height) for x, y in profile], fill=255)
    draw.ellipse((width * 0.47, height * 0.235, width * 0.72, height * 0.47), fill=255)
    draw.ellipse((width * 0.655, height * 0.27, width * 0.80, height * 0.395), fill=255)
    bust = soft(bust, 2.2)
    lay(picture, (50, 50, 50), bust)
    skin = Image.new("L", picture.size)
    hairline = [(0.452, 0.25), (0.475, 0.33), (0.515, 0.40), (0.545, 0.46), (0.535, 0.55), (0.60, 0.63), (0.60, 0.70)]
    edge = [(x * width, y * height) for x, y in [*hairline, (0.5, 0.74), (0.3, 0.74), (0.3, 0.3)]]
    ImageDraw.Draw(skin).polygon(edge, fill=255)
    lay(picture, (158, 158, 158), ImageChops.multiply(soft(skin, 6), bust))
    for box, light, share in (((0.385, 0.36, 0.50, 0.55), 214, 0.8), ((0.46, 0.50, 0.58, 0.58), 96, 0.7)):
        patch = levels(soft(ellipse(picture.size, box), 13), 0, 255, share)
        lay(picture, (light, light, light), ImageChops.multiply(patch, bust))
    eye = soft(ellipse(picture.size, (0.412, 0.408, 0.44, 0.424)), 2)
    lay(picture, (40, 40, 40), eye)
    _collar_and_hair(picture, bust)
    grey = ImageOps.grayscale(finished(picture))
    mount = soft(ellipse(grey.size, (0.07, 0.05, 0.93, 0.93)), 2.5)
    card = Image.new("L", grey.size, 214)
    card.paste(grey, (0, 0), mount)
    old = aged(card, rng, 10)
    return ImageOps.colorize(old, (44, 28, 18), (246, 232, 204), mid=(164, 128, 92))


def _collar_and_hair(picture: Image.Image, bust: Image.Image) -> None:
    width, height = picture.size
    marks = Image.new("L", picture.size)
    draw = ImageDraw.Draw(marks)
    for strand in range(13):
        reach = strand / 12
        draw.arc(
            (
                width * (0.42 + 0.03 * reach),
                height * (0.25 + 0.03 * reach),
                width * (0.74 - 0.06 * reach),
                height * (0.56 - 0.14 * reach),
            ),
            190 + 20 * reach,
            350,
            fill=90,
            width=2,
        )
        draw.arc(
            (
                width * (0.66 + 0.04 * reach),
                height * (0.275 + 0.035 * reach),
                width * (0.795 - 0.04 * reach),
                height * (0.39 - 0.035 * reach),
            ),
            0,
            360,
            fill=80,
            width=2,
        )
    for bead in range(12):
        turn = 0.25 + bead * 0.2
        x, y = width * (0.565 - 0.085 * math.cos(turn)), height * (0.665 + 0.028 * math.sin(turn))
        draw.ellipse((x - 6, y - 6, x + 6, y + 6), fill=235)
    for fold in range(16):
        x = width * (0.22 + 0.037 * fold)
        draw.line([(width * (0.45 + 0.012 * fold), height * 0.73), (x, height)], fill=58, width=3)
    lay(picture, (226, 226, 226), ImageChops.multiply(soft(marks, 0.8), bust))


def still_life() -> Image.Image:
    """Pears, a jug and a lemon on a table, with light from a window at the left."""
    rng = dice("still life")
    picture = canvas(320, 240)
    width, height = picture.size
    table = round(height * 0.66)
    picture.paste(gradient(picture.size, [(0, (40, 46, 44)), (0.6, (86, 82, 68)), (1, (60, 54, 46))]))
    wall = levels(clouds(picture.size, (8, 6), rng), 60, 230, 0.35)
    lay(picture, (30, 34, 34), wall)
    glow(picture, (width * 0.1, height * 0.1), width * 0.75, (226, 206, 160), 0.55)
    wood = gradient((width, height - table), [(0, (122, 78, 46)), (0.2, (110, 66, 38)), (1, (52, 28, 18))])
    picture.paste(wood, (0, table))
    grainy = Image.new("L", picture.size)
    grainy.paste(levels(clouds((width, height - table), (2, 40), rng, 3), 100, 220, 0.5), (0, table))
    lay(picture, (54, 28, 16), grainy)
    for x, wide in ((0.7, 0.2), (0.36, 0.12), (0.5, 0.11), (0.22, 0.1)):
        shadow = soft(ellipse(picture.size, (x - wide * 0.6, 0.78, x + wide * 1.7, 0.87)), 12)
        lay(picture, (20, 12, 12), levels(shadow, 0, 255, 0.75))
    jug = [
        (0.63, 0.2),
        (0.76, 0.2),
        (0.752, 0.3),
        (0.8, 0.42),
        (0.835, 0.58),
        (0.82, 0.72),
        (0.77, 0.81),
        (0.63, 0.81),
        (0.58, 0.72),
        (0.565, 0.58),
        (0.6, 0.42),
        (0.645, 0.3),
    ]
    _jug_handle(picture)
    _body(picture, _smooth(picture.size, jug), (70, 118, 138), (0.635, 0.5), 0.2)
    lay(picture, (24, 40, 50), soft(ellipse(picture.size, (0.628, 0.183, 0.762, 0.222)), 1.5))
    pear = [
        (-0.012, -0.2),
        (0.028, -0.19),
        (0.045, -0.12),
        (0.085, -0.02),
        (0.09, 0.06),
        (0.055, 0.12),
        (-0.05, 0.12),
        (-0.088, 0.06),
        (-0.085, -0.02),
        (-0.04, -0.12),
    ]
    for x, y, colour in ((0.37, 0.7, (196, 168, 62)), (0.52, 0.72, (190, 118, 54))):
        shape = _smooth(picture.size, [(x + dx, y + dy) for dx, dy in pear])
        _body(picture, shape, colour, (x - 0.035, y - 0.01), 0.1)
        ImageDraw.Draw(picture).line(
            [(width * x, height * (y - 0.19)), (width * (x + 0.012), height * (y - 0.245))],
            fill=(58, 36, 20),
            width=6,
        )
    lemon = [
        (0.125, 0.755),
        (0.16, 0.715),
        (0.215, 0.7),
        (0.27, 0.72),
        (0.305, 0.765),
        (0.27, 0.815),
        (0.215, 0.83),
        (0.16, 0.81),
    ]
    _body(picture, _smooth(picture.size, lemon), (236, 200, 56), (0.195, 0.745), 0.08)
    return grain(vignette(finished(picture), 0.5), rng, 3)


def _smooth(size: tuple[int, int], outline: list[tuple[float, float]]) -> Image.Image:
    """A mask of a closed outline with its corners rounded off (Chaikin's rule)."""
    for _ in range(4):
        after = [*outline[1:], outline[0]]
        outline = [
            (a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share)
            for a, b in zip(outline, after, strict=True)
            for share in (0.25, 0.75)
        ]
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).polygon([(x * size[0], y * size[1]) for x, y in outline], fill=255)
    return mask


def _body(picture: Image.Image, shape: Image.Image, colour: Colour, light: tuple[float, float], size: float) -> None:
    """A round thing: lit at `light`, dark at its far side, with a small highlight."""
    width, height = picture.size
    paint = Image.new("RGB", picture.size, mixed(colour, (18, 12, 14), 0.78))
    reach = size * width
    for radius, tone in ((2.6, 0.42), (1.9, 0.12), (1.2, 0.0)):
        spot = (light[0] - radius * size, light[1] - radius * size * width / height)
        box = (*spot, light[0] + radius * size, light[1] + radius * size * width / height)
        lay(paint, mixed(colour, (18, 12, 14), tone), soft(ellipse(picture.size, box), reach * 0.55))
    glow(paint, (light[0] * width, light[1] * height), reach * 0.75, mixed(colour, (255, 250, 230), 0.75), 0.75)
    rim = ImageChops.subtract(shape, ImageChops.offset(shape, -6, 0))
    lay(paint, mixed(colour, (150, 110, 80), 0.5), levels(soft(rim, 3), 0, 255, 0.35))
    picture.paste(paint, (0, 0), soft(shape, 1.2))


def _jug_handle(picture: Image.Image) -> None:
    width, height = picture.size
    draw = ImageDraw.Draw(picture)
    box = (width * 0.72, height * 0.24, width * 0.9, height * 0.56)
    draw.arc(box, 230, 110, fill=(28, 48, 58), width=22)
    draw.arc((box[0] + 3, box[1] + 3, box[2] - 6, box[3] - 6), 240, 60, fill=(64, 104, 120), width=6)
