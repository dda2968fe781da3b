"""Demo logos on a transparent ground. Each function returns one picture at its final size."""

import math

from brushes import SCALE, mixed, soft
from PIL import Image, ImageDraw


def anchor() -> Image.Image:
    """A white anchor on a navy badge with a rope's edge and a soft shadow: alpha in all its shades."""
    side = 200 * SCALE
    shadow = Image.new("L", (side, side))
    ImageDraw.Draw(shadow).ellipse(_ring(side, 0.45, 0.03), fill=150)
    badge = Image.new("RGBA", (side, side), (10, 16, 40, 255))
    badge.putalpha(soft(shadow, 14))
    plate = Image.new("RGBA", badge.size)
    draw = ImageDraw.Draw(plate)
    draw.ellipse(_ring(side, 0.44), fill=(206, 164, 92, 255))
    for turn in range(60):
        angle = turn * math.pi / 30
        x, y = side / 2 + side * 0.425 * math.cos(angle), side / 2 + side * 0.425 * math.sin(angle)
        draw.line((x - 7, y - 7, x + 7, y + 7), fill=(140, 98, 44, 255), width=5)
    draw.ellipse(_ring(side, 0.405), fill=(20, 42, 88, 255))
    draw.ellipse(_ring(side, 0.375), outline=(206, 164, 92, 255), width=5)
    _anchor_shape(draw, side)
    badge.alpha_composite(plate)
    return badge.resize((150, 150), Image.Resampling.LANCZOS)


def _ring(side: int, radius: float, down: float = 0.0) -> tuple[float, float, float, float]:
    low, high = side * (0.5 - radius), side * (0.5 + radius)
    return low, low + side * down, high, high + side * down


def _anchor_shape(draw: ImageDraw.ImageDraw, side: int) -> None:
    white, middle = (246, 244, 236, 255), side / 2
    draw.ellipse((middle - side * 0.055, side * 0.2, middle + side * 0.055, side * 0.31), outline=white, width=20)
    draw.rectangle((middle - 13, side * 0.3, middle + 13, side * 0.74), fill=white)
    draw.rounded_rectangle((side * 0.36, side * 0.36, side * 0.64, side * 0.4), 12, fill=white)
    draw.arc((side * 0.29, side * 0.34, side * 0.71, side * 0.76), 18, 162, fill=white, width=26)
    for reach in (-1, 1):
        x, y = middle + reach * side * 0.2, side * 0.6
        draw.polygon([(x + reach * 26, y - 40), (x + reach * 30, y + 34), (x - reach * 42, y + 8)], fill=white)


def sun_and_waves() -> Image.Image:
    """A sun over three waves in a few flat colours and nothing around it: palette and transparency."""
    side = 160 * SCALE
    flat = Image.new("RGBA", (side, side))
    draw = ImageDraw.Draw(flat)
    x, y = side * 0.5, side * 0.42
    for ray in (*range(3), *range(6, 16)):
        angle, tip = ray * math.pi / 8, side * (0.38 if ray % 2 else 0.33)
        points = [(angle, tip), (angle - 0.085, side * 0.24), (angle + 0.085, side * 0.24)]
        draw.polygon([(x + far * math.cos(at), y + far * math.sin(at)) for at, far in points], fill=(244, 162, 58, 255))
    for radius, colour in ((0.215, (250, 196, 74, 255)), (0.15, (252, 220, 128, 255))):
        reach = side * radius
        draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=colour)
    for number, colour in enumerate(((96, 190, 196, 255), (42, 134, 164, 255), (20, 78, 122, 255))):
        base = side * (0.56 + 0.1 * number)
        across = range(round(side * 0.06), round(side * 0.94))
        crest = [(at, base + side * 0.03 * math.sin(at / side * 12.6 + 1.7 * number)) for at in across]
        draw.polygon([*crest, *[(at, level + side * 0.14) for at, level in reversed(crest)]], fill=colour)
    # Reduced without smoothing, so that the few colours stay few; one of them stands for "nothing here".
    small = flat.resize((160, 160), Image.Resampling.NEAREST)
    ground = Image.new("RGB", small.size, (255, 0, 255))
    ground.paste(small, (0, 0), small)
    indexed = ground.quantize(8, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    indexed.info["transparency"] = indexed.getpixel((0, 0))
    return indexed


def compass() -> Image.Image:
    """A compass rose in two greens on glass: half-transparent where the glass is."""
    side = 180 * SCALE
    green, pale = (20, 84, 76), (70, 150, 132)
    rose = Image.new("RGBA", (side, side))
    draw = ImageDraw.Draw(rose)
    draw.ellipse(_ring(side, 0.47), fill=(120, 200, 180, 70))
    draw.ellipse(_ring(side, 0.47), outline=(*green, 255), width=9)
    draw.ellipse(_ring(side, 0.41), outline=(*green, 160), width=3)

    def at(angle: float, far: float) -> tuple[float, float]:
        return side * (0.5 + far * math.cos(angle)), side * (0.5 + far * math.sin(angle))

    for tick in range(72):
        angle, start = tick * math.pi / 36, 0.43 if tick % 6 else 0.415
        draw.line([at(angle, start), at(angle, 0.46)], fill=(*green, 255), width=3 if tick % 6 else 7)
    for length, turn, colour in ((0.24, math.pi / 4, pale), (0.38, 0.0, green)):
        for quarter in range(4):
            angle = turn + quarter * math.pi / 2
            for lean, share in ((-math.pi / 4, 0.0), (math.pi / 4, 0.45)):
                face = [at(angle, 0), at(angle, length), at(angle + lean, 0.085)]
                draw.polygon(face, fill=(*mixed(colour, (236, 246, 240), share), 255))
    north = -math.pi / 2
    for lean, colour in ((-math.pi / 4, (214, 76, 56)), (math.pi / 4, (244, 150, 120))):
        draw.polygon([at(north, 0), at(north, 0.38), at(north + lean, 0.085)], fill=(*colour, 255))
    draw.ellipse(_ring(side, 0.03), fill=(244, 240, 226, 255), outline=(*green, 255), width=5)
    return rose.resize((150, 150), Image.Resampling.LANCZOS)
