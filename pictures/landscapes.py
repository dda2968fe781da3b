"""Demo pictures of land and town. Each function returns one picture at its final size."""

import math
import random

from brushes import (
    Colour,
    canvas,
    clouds,
    dice,
    finished,
    fir,
    glow,
    gradient,
    grain,
    lay,
    levels,
    mirror,
    mixed,
    noise,
    ridge,
    ripples,
    soft,
    under,
    vignette,
)
from PIL import Image, ImageChops, ImageDraw


def city_night() -> Image.Image:
    """Lit windows under a moon, and the wet street that repeats them."""
    rng = dice("city")
    picture = canvas(360, 240)
    width, height = picture.size
    street = round(height * 0.72)
    picture.paste(gradient((width, street), [(0, (8, 12, 36)), (0.6, (34, 34, 84)), (1, (120, 70, 110))]), (0, 0))
    for _ in range(70):
        x, y = rng.uniform(0, width), rng.uniform(0, street * 0.5)
        ImageDraw.Draw(picture).ellipse((x, y, x + 2.5, y + 2.5), fill=(220, 224, 246))
    moon = (width * 0.2, height * 0.17)
    glow(picture, moon, height * 0.3, (150, 160, 220), 0.6)
    ImageDraw.Draw(picture).ellipse((moon[0] - 27, moon[1] - 27, moon[0] + 27, moon[1] + 27), fill=(248, 244, 226))
    for depth, colour in enumerate(((48, 42, 88), (28, 26, 60), (12, 12, 32))):
        _houses(picture, street, depth, colour)
    glow(picture, (width * 0.5, street), width * 0.6, (255, 150, 90), 0.4, 0.35)
    for x in (0.07, 0.28, 0.52, 0.74, 0.93):
        draw = ImageDraw.Draw(picture)
        draw.line((width * x, street + 6, width * x, street - 62), fill=(8, 8, 18), width=4)
        glow(picture, (width * x, street - 64), 52, (255, 214, 150), 1.0)
    mirror(picture, street, 0.62)
    ripples(picture, street, rng, 1.1)
    for _ in range(26):
        x, y = rng.uniform(0, width), rng.uniform(street + 10, height)
        glow(
            picture,
            (x, y),
            rng.uniform(14, 40),
            rng.choice([(255, 120, 60), (255, 210, 120), (90, 170, 255)]),
            0.35,
            0.5,
        )
    return grain(vignette(finished(picture), 0.3), rng, 5)


def _houses(picture: Image.Image, street: int, depth: int, colour: Colour) -> None:
    rng = dice(f"houses {depth}")
    draw = ImageDraw.Draw(picture)
    x = -20.0
    while x < picture.width:
        wide, high = rng.uniform(48, 110), rng.uniform(0.25, 0.6) * street * (1.1 - 0.22 * depth)
        draw.rectangle((x, street - high, x + wide, street + 2), fill=colour)
        if rng.random() < 0.35:
            draw.line((x + wide / 2, street - high, x + wide / 2, street - high - 38), fill=colour, width=4)
        lit = rng.uniform(0.25, 0.6) if depth else 0.2
        for wy in range(int(street - high) + 10, street - 12, 17):
            for wx in range(int(x) + 8, int(x + wide) - 10, 14):
                if rng.random() < lit:
                    warm = mixed((255, 190, 96), (255, 240, 196), rng.random())
                    draw.rectangle((wx, wy, wx + 7, wy + 9), fill=mixed(colour, warm, 0.45 + 0.27 * depth))
        x += wide + rng.uniform(-6, 10)


def forest_fog() -> Image.Image:
    """Firs going under in fog, row behind row, with light falling through."""
    rng = dice("forest")
    picture = canvas(320, 320)
    width, height = picture.size
    picture.paste(gradient(picture.size, [(0, (206, 218, 206)), (0.5, (244, 230, 196)), (1, (150, 166, 140))]))
    glow(picture, (width * 0.62, height * 0.12), width * 0.55, (255, 226, 160), 1.0)
    for depth in range(6):
        share = depth / 5
        colour = mixed((176, 192, 180), (18, 38, 34), share**1.25)
        draw = ImageDraw.Draw(picture)
        foot = height * (0.66 + 0.075 * depth)
        for _ in range(17 - 2 * depth):
            high = height * rng.uniform(0.3, 0.5) * (0.75 + 0.75 * share)
            _branchy(draw, rng, rng.uniform(-0.05, 1.05) * width, foot + 24, high, colour)
        ground = under(picture, ridge(width, rng, foot, height * 0.02, 3), height)
        lay(picture, colour, ground)
        if depth < 5:
            fog = levels(clouds(picture.size, (3, 5), rng), 70, 235, 0.62 - 0.06 * depth)
            fade = gradient(
                picture.size, [(0, (40, 40, 40)), (0.45, (90, 90, 90)), (0.72, (255, 255, 255)), (1, (200, 200, 200))]
            )
            lay(picture, (238, 230, 204), ImageChops.multiply(fog, fade.getchannel("R")))
    rays = Image.new("L", picture.size)
    draw = ImageDraw.Draw(rays)
    for _ in range(9):
        angle, wide = rng.uniform(0.95, 2.1), rng.uniform(0.015, 0.05)
        x, y, far = width * 0.62, height * 0.08, height * 1.1
        draw.polygon(
            [
                (x, y),
                (x + far * math.cos(angle - wide), y + far * math.sin(angle - wide)),
                (x + far * math.cos(angle + wide), y + far * math.sin(angle + wide)),
            ],
            fill=120,
        )
    fall = gradient(picture.size, [(0, (255, 255, 255)), (0.9, (0, 0, 0)), (1, (0, 0, 0))]).getchannel("R")
    lay(picture, (255, 246, 214), ImageChops.multiply(soft(rays, 7), fall))
    return grain(vignette(finished(picture), 0.35), rng, 4)


def _branchy(draw: ImageDraw.ImageDraw, rng: random.Random, x: float, foot: float, high: float, colour: Colour) -> None:
    """A fir with single boughs, for trees that stand near."""
    draw.line((x, foot + 12, x, foot - high), fill=colour, width=max(3, round(high / 45)))
    boughs = 26
    for bough in range(boughs):
        down = bough / boughs
        y = foot - high + high * 0.88 * down
        wide = high * (0.02 + 0.19 * down) * rng.uniform(0.75, 1.15)
        sag = high * (0.03 + 0.04 * down)
        draw.polygon(
            [
                (x, y - high * 0.03),
                (x - wide, y + sag),
                (x - wide * 0.4, y + sag * 0.6),
                (x, y + sag * 0.9),
                (x + wide * 0.4, y + sag * 0.6),
                (x + wide, y + sag),
            ],
            fill=colour,
        )


def aurora() -> Image.Image:
    """Northern lights over a cabin in the snow."""
    rng = dice("aurora")
    picture = canvas(300, 300)
    width, height = picture.size
    picture.paste(
        gradient(picture.size, [(0, (6, 10, 34)), (0.5, (12, 42, 66)), (0.75, (40, 86, 96)), (1, (40, 86, 96))])
    )
    draw = ImageDraw.Draw(picture)
    for _ in range(190):
        x, y, r = rng.uniform(0, width), rng.uniform(0, height * 0.65), rng.choice((1.0, 1.4, 2.4))
        draw.ellipse((x - r, y - r, x + r, y + r), fill=mixed((120, 140, 180), (255, 255, 255), rng.random()))
    curtains: list[tuple[float, float, Colour, Colour]] = [
        (0.52, 0.46, (70, 240, 160), (110, 90, 220)),
        (0.38, 0.34, (60, 220, 190), (170, 80, 200)),
    ]
    for base, high, foot, crown in curtains:
        _curtain(picture, base, high, foot, crown, rng)
    far = ridge(width, rng, height * 0.72, height * 0.1, 2, 0.5)
    lay(picture, (18, 40, 58), under(picture, far, height))
    snow = ridge(width, rng, height * 0.8, height * 0.05, 1, 0.25)
    mask = under(picture, snow, height)
    ground = gradient(picture.size, [(0, (150, 190, 206)), (0.75, (150, 190, 206)), (1, (52, 84, 118))])
    picture.paste(ground, (0, 0), mask)
    drift = levels(clouds(picture.size, (4, 22), rng), 120, 220, 0.4)
    lay(picture, (214, 236, 236), ImageChops.multiply(drift, mask))
    draw = ImageDraw.Draw(picture)
    for _ in range(26):
        x = rng.choice((rng.gauss(0.08, 0.07), rng.gauss(0.92, 0.08)))
        column = min(max(0, round(x * width)), width - 1)
        fir(draw, x * width, snow[column] + rng.uniform(6, 60), rng.uniform(90, 210), (8, 24, 34))
    _cabin(picture, width * 0.56, height * 0.85)
    return grain(vignette(finished(picture), 0.3), rng, 3.5)


def _curtain(picture: Image.Image, base: float, high: float, foot: Colour, crown: Colour, rng: random.Random) -> None:
    """One curtain of light: rays of uneven height along a winding line."""
    width, height = picture.size
    line = ridge(width, rng, height * base, height * 0.12, 1, 0.3)
    rays = noise((width, 1), (70, 1), rng)
    low, tall = Image.new("L", picture.size), Image.new("L", picture.size)
    fade = Image.linear_gradient("L")
    for x in range(0, width, 2):
        strength = rays.getpixel((x, 0)) / 255
        for mask, share in ((low, 0.62), (tall, 1.0)):
            tip = max(4, round(height * high * share * (0.55 + 0.45 * strength)))
            ray = fade.resize((2, tip)).point([round(v * (0.25 + 0.6 * strength) * (v / 255)) for v in range(256)])
            mask.paste(ray, (x, round(line[x]) - tip))
    for mask, colour, radius in ((tall, crown, 5), (low, foot, 3)):
        light = Image.composite(
            Image.new("RGB", picture.size, colour), Image.new("RGB", picture.size), soft(mask, radius)
        )
        picture.paste(ImageChops.screen(picture, light))


def _cabin(picture: Image.Image, x: float, foot: float) -> None:
    draw = ImageDraw.Draw(picture)
    draw.rectangle((x - 60, foot - 56, x + 60, foot), fill=(54, 34, 30))
    for plank in range(5):
        draw.line((x - 60, foot - 10 - 11 * plank, x + 60, foot - 10 - 11 * plank), fill=(34, 22, 24), width=2)
    draw.rectangle((x + 24, foot - 128, x + 42, foot - 84), fill=(60, 46, 46))
    draw.polygon([(x - 78, foot - 50), (x, foot - 118), (x + 78, foot - 50)], fill=(206, 226, 234))
    draw.polygon([(x - 58, foot - 52), (x, foot - 102), (x + 58, foot - 52)], fill=(44, 28, 28))
    glow(picture, (x - 24, foot - 26), 80, (255, 180, 80), 0.8)
    glow(picture, (x - 20, foot + 24), 120, (255, 180, 90), 0.45, 0.35)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((x - 40, foot - 42, x - 10, foot - 14), fill=(255, 220, 130))
    draw.line((x - 25, foot - 42, x - 25, foot - 14), fill=(80, 44, 28), width=3)
    draw.line((x - 40, foot - 28, x - 10, foot - 28), fill=(80, 44, 28), width=3)
    draw.rectangle((x + 16, foot - 44, x + 40, foot), fill=(30, 18, 20))


def dunes() -> Image.Image:
    """Desert at evening: crests with a bright and a dark side, one small caravan."""
    rng = dice("dunes")
    picture = canvas(360, 216)
    width, height = picture.size
    picture.paste(
        gradient(
            picture.size, [(0, (74, 110, 168)), (0.3, (196, 178, 178)), (0.5, (255, 206, 150)), (1, (255, 206, 150))]
        )
    )
    glow(picture, (width * 0.8, height * 0.36), width * 0.4, (255, 214, 130), 0.9)
    for depth in range(5):
        share = depth / 4
        base = height * (0.5 + 0.16 * depth)
        phase, waves = rng.uniform(0, 6.3), 1.5 - 0.2 * depth
        line = [
            base - height * (0.03 + 0.05 * share) * (1 + math.sin(x / width * 6.3 * waves + phase))
            for x in range(width)
        ]
        mask = under(picture, line, height)
        lit, dark = mixed((232, 164, 112), (240, 150, 70), share), mixed((178, 112, 92), (98, 44, 34), share)
        picture.paste(
            gradient(
                picture.size,
                [
                    (0, lit),
                    (base / height - 0.12, lit),
                    (min(1, base / height + 0.3), mixed(lit, dark, 0.75)),
                    (1, dark),
                ],
            ),
            (0, 0),
            mask,
        )
        lee = [
            y + height * (0.012 + 0.13 * share) * max(0.0, math.cos(x / width * 6.3 * waves + phase)) ** 1.5
            for x, y in enumerate(line)
        ]
        flank = ImageChops.subtract(mask, under(picture, lee, height))
        lay(picture, dark, soft(flank, 1.0))
        combed = levels(clouds(picture.size, (3, 70), rng, 2), 130, 200, 0.10 + 0.16 * share)
        lay(picture, mixed(dark, lit, 0.35), ImageChops.multiply(combed, mask))
        if depth == 1:
            _caravan(picture, line)
    return grain(vignette(finished(picture), 0.25), rng, 3)


def _caravan(picture: Image.Image, line: list[float]) -> None:
    draw = ImageDraw.Draw(picture)
    ink = (58, 32, 36)
    for walker in range(5):
        x = picture.width * (0.3 + 0.042 * walker)
        y = line[round(x)] + 2
        for leg in (-9, -5, 6, 10):
            draw.line((x + leg * 0.8, y - 14, x + leg, y), fill=ink, width=2)
        draw.ellipse((x - 12, y - 24, x + 12, y - 11), fill=ink)
        draw.ellipse((x - 5, y - 30, x + 6, y - 18), fill=ink)
        draw.line([(x - 10, y - 18), (x - 17, y - 20), (x - 19, y - 31), (x - 25, y - 30)], fill=ink, width=3)
