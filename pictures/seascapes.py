"""Demo pictures by the water. Each function returns one picture at its final size."""

import math

from brushes import (
    Colour,
    aged,
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
    placed,
    ridge,
    ripples,
    soft,
    under,
    vignette,
)
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

DUSK: list[tuple[float, Colour]] = [
    (0.0, (30, 36, 84)),
    (0.32, (94, 66, 128)),
    (0.62, (214, 104, 104)),
    (0.85, (252, 168, 88)),
    (1.0, (255, 214, 140)),
]


def harbour_dusk() -> Image.Image:
    """Masts and a quay against the setting sun; the water takes it all up again."""
    rng = dice("harbour")
    picture = canvas(384, 256)
    width, height = picture.size
    horizon = round(height * 0.6)
    picture.paste(gradient((width, horizon), DUSK), (0, 0))
    streaks = levels(clouds((width, horizon), (3, 9), rng), 120, 230, 0.55)
    picture.paste((255, 150, 120), (0, 0), streaks)
    sun = (width * 0.66, horizon - height * 0.035)
    glow(picture, sun, height * 0.75, (255, 150, 70), 0.75)
    glow(picture, sun, height * 0.28, (255, 220, 150), 0.9)
    disc = height * 0.038
    ImageDraw.Draw(picture).ellipse((sun[0] - disc, sun[1] - disc, sun[0] + disc, sun[1] + disc), fill=(255, 246, 214))
    hills = under(picture, ridge(width, rng, horizon - height * 0.02, height * 0.05, 2), horizon)
    lay(picture, (112, 66, 96), soft(hills, 2))
    _quay(picture, horizon)
    for x, size in ((0.1, 1.0), (0.27, 0.72), (0.43, 0.5), (0.86, 0.95)):
        _boat(picture, width * x, horizon + 4, height * 0.42 * size)
    mirror(picture, horizon)
    ripples(picture, horizon, rng, 1.4)
    _sun_path(picture, sun[0], horizon)
    return grain(vignette(finished(picture), 0.35), rng, 5)


def _quay(picture: Image.Image, horizon: int) -> None:
    rng = dice("quay")
    draw = ImageDraw.Draw(picture)
    x = picture.width * 0.47
    while x < picture.width * 0.62:
        wide, high = rng.uniform(30, 60), rng.uniform(25, 58)
        draw.rectangle((x, horizon - high, x + wide, horizon), fill=(58, 36, 66))
        draw.polygon(
            [(x - 3, horizon - high), (x + wide / 2, horizon - high - wide * 0.3), (x + wide + 3, horizon - high)],
            fill=(50, 30, 60),
        )
        for _ in range(3):
            wx, wy = x + rng.uniform(4, wide - 8), horizon - rng.uniform(6, high - 6)
            draw.rectangle((wx, wy, wx + 4, wy + 5), fill=(255, 206, 120))
        x += wide + rng.uniform(-2, 6)


def _boat(picture: Image.Image, x: float, water: float, mast: float) -> None:
    ink = (28, 20, 42)
    draw = ImageDraw.Draw(picture)
    hull = mast * 0.36
    draw.polygon(
        [
            (x - hull, water - hull * 0.32),
            (x + hull * 1.1, water - hull * 0.42),
            (x + hull * 0.8, water),
            (x - hull * 0.75, water),
        ],
        fill=ink,
    )
    draw.polygon(
        [
            (x - hull * 0.45, water - hull * 0.35),
            (x - hull * 0.35, water - hull * 0.62),
            (x + hull * 0.2, water - hull * 0.62),
            (x + hull * 0.35, water - hull * 0.35),
        ],
        fill=ink,
    )
    draw.line((x, water - hull * 0.3, x, water - mast), fill=ink, width=6)
    draw.line((x, water - mast * 0.28, x - hull * 0.95, water - mast * 0.26), fill=ink, width=9)
    for reach in (-0.95, 1.05):
        draw.line((x, water - mast, x + hull * reach, water - hull * 0.38), fill=ink, width=2)
    draw.line((x - hull * 0.22, water - mast * 0.62, x + hull * 0.22, water - mast * 0.62), fill=ink, width=3)


def _sun_path(picture: Image.Image, x: float, horizon: int) -> None:
    rng = dice("sun path")
    glints = Image.new("L", picture.size)
    draw = ImageDraw.Draw(glints)
    for _ in range(420):
        depth = rng.random() ** 1.3
        y = horizon + depth * (picture.height - horizon)
        wide = (6 + 26 * depth) * rng.uniform(0.4, 1.2)
        at = x + rng.gauss(0, 14 + 54 * depth)
        draw.ellipse((at - wide, y - 1.2, at + wide, y + 1.2 + depth), fill=rng.randint(90, 230))
    lay(picture, (255, 214, 150), glints.filter(ImageFilter.GaussianBlur(0.8)))


def mountain_lake() -> Image.Image:
    """Four ranges in the first light, mist on the water."""
    rng = dice("lake")
    picture = canvas(384, 256)
    width, height = picture.size
    horizon = round(height * 0.58)
    picture.paste(
        gradient(
            (width, horizon),
            [(0, (92, 142, 196)), (0.55, (190, 206, 220)), (0.85, (252, 214, 186)), (1, (255, 226, 200))],
        ),
        (0, 0),
    )
    lay(picture, (255, 240, 226), levels(placed(clouds((width, horizon), (4, 7), rng), picture.size), 130, 240, 0.7))
    glow(picture, (width * 0.24, horizon * 0.78), height * 0.8, (255, 196, 140), 0.6)
    ranges: list[tuple[float, float, int, Colour]] = [
        (0.52, 0.4, 1, (122, 136, 178)),
        (0.57, 0.22, 2, (88, 108, 148)),
        (0.585, 0.1, 4, (52, 78, 98)),
    ]
    for number, (base, high, waves, colour) in enumerate(ranges):
        line = ridge(width, rng, height * base, height * high, waves, 0.55)
        mask = under(picture, line, horizon)
        lay(picture, colour, mask)
        if number == 0:
            _snow(picture, line, mask)
        rock = ImageChops.multiply(mask, levels(clouds(picture.size, (24, 16), rng), 110, 220, 0.28))
        lay(picture, mixed(colour, (20, 30, 50), 0.6), rock)
        mist = gradient(
            picture.size, [(0, (0, 0, 0)), (base - 0.06, (0, 0, 0)), (0.6, (190, 190, 190)), (1, (0, 0, 0))]
        )
        lay(picture, (236, 218, 212), ImageChops.multiply(mist.getchannel("R"), mask))
    _firs(picture, horizon)
    mirror(picture, horizon, 0.86)
    ripples(picture, horizon, rng, 0.5)
    band = Image.new("L", picture.size)
    ImageDraw.Draw(band).rectangle((0, horizon - 6, width, horizon + 10), fill=150)
    lay(picture, (244, 232, 226), soft(band, 9))
    return grain(vignette(finished(picture), 0.25), rng, 3.5)


def _snow(picture: Image.Image, line: list[float], mask: Image.Image) -> None:
    """White on the high flanks, with blue shadows."""
    rng = dice("snow")
    top = min(line)
    rough = clouds(picture.size, (34, 60), rng, 3)
    cap = gradient(
        picture.size,
        [
            (0, (255, 255, 255)),
            (top / picture.height, (255, 255, 255)),
            (top / picture.height + 0.22, (0, 0, 0)),
            (1, (0, 0, 0)),
        ],
    ).getchannel("R")
    white = ImageChops.multiply(levels(ImageChops.add(cap, rough, 2), 128, 150), mask)
    lay(picture, (255, 236, 230), white)
    shade = levels(clouds(picture.size, (26, 10), rng, 2), 120, 190, 0.6)
    lay(picture, (168, 172, 206), ImageChops.multiply(white, shade))


def _firs(picture: Image.Image, water: int) -> None:
    rng = dice("firs")
    draw = ImageDraw.Draw(picture)
    for _ in range(90):
        x = rng.choice((rng.gauss(0.86, 0.1), rng.gauss(0.05, 0.08), rng.uniform(0, 1)))
        high = rng.uniform(22, 50) * (1.9 if x > 0.75 or x < 0.12 else 0.8)
        fir(draw, x * picture.width, water + 2, high, mixed((22, 44, 48), (48, 70, 74), rng.random()))


def steamer_scan() -> Image.Image:
    """A grey print of a steamer in heavy sea."""
    rng = dice("steamer")
    picture = canvas(280, 190, (120, 120, 120))
    width, height = picture.size
    horizon = round(height * 0.62)
    picture.paste(gradient((width, horizon), [(0, (128, 128, 128)), (1, (226, 226, 226))]), (0, 0))
    lay(picture, (238, 238, 238), levels(placed(clouds((width, horizon), (4, 5), rng), picture.size), 90, 230, 0.8))
    picture.paste(gradient((width, height - horizon), [(0, (150, 150, 150)), (1, (48, 48, 48))]), (0, horizon))
    _smoke(picture, (width * 0.47, horizon - height * 0.3))
    draw = ImageDraw.Draw(picture)
    ink = (34, 34, 34)

    def at(x: float, y: float) -> tuple[float, float]:
        return width * x, horizon - height * y

    draw.polygon([at(0.18, 0.1), at(0.84, 0.13), at(0.78, -0.06), at(0.24, -0.06)], fill=ink)
    draw.line([at(0.2, 0.075), at(0.83, 0.1)], fill=(190, 190, 190), width=3)
    draw.rectangle((*at(0.32, 0.19), *at(0.68, 0.1)), fill=(214, 214, 214), outline=ink, width=2)
    draw.rectangle((*at(0.58, 0.25), *at(0.68, 0.18)), fill=(226, 226, 226), outline=ink, width=2)
    for x in (0.42, 0.5):
        draw.polygon([at(x, 0.18), at(x - 0.006, 0.34), at(x + 0.036, 0.34), at(x + 0.042, 0.18)], fill=(60, 60, 60))
        draw.polygon(
            [at(x - 0.003, 0.28), at(x - 0.005, 0.31), at(x + 0.036, 0.31), at(x + 0.038, 0.28)], fill=(200, 200, 200)
        )
    for x in (0.27, 0.76):
        draw.line([at(x, 0.1), at(x - 0.012, 0.5)], fill=ink, width=4)
        for reach in (-0.1, 0.1):
            draw.line([at(x - 0.012, 0.48), at(x + reach, 0.11)], fill=ink, width=1)
    for port in range(15):
        x, y = at(0.27 + 0.036 * port, 0.035 + 0.001 * port)
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=(180, 180, 180))
    for window in range(9):
        x, y = at(0.35 + 0.036 * window, 0.155)
        draw.rectangle((x, y, x + 9, y + 10), fill=(70, 70, 70))
    _swell(picture, horizon)
    return aged(ImageOps.autocontrast(ImageOps.grayscale(finished(picture))), rng, 12)


def _smoke(picture: Image.Image, foot: tuple[float, float]) -> None:
    rng = dice("smoke")
    plume = Image.new("L", picture.size)
    draw = ImageDraw.Draw(plume)
    for puff in range(60):
        share = puff / 59
        x = foot[0] - picture.width * 0.5 * share**1.1 + rng.gauss(0, 6 + 10 * share)
        y = foot[1] - picture.height * 0.2 * share**0.7 + rng.gauss(0, 4 + 13 * share)
        r = 8 + 38 * share
        draw.ellipse((x - r, y - r * 0.7, x + r, y + r * 0.7), fill=round(250 - 130 * share))
    plume = ImageChops.multiply(soft(plume, 9), levels(clouds(picture.size, (18, 12), rng, 3), 0, 120))
    lay(picture, (40, 40, 40), plume)


def _swell(picture: Image.Image, horizon: int) -> None:
    rng = dice("swell")
    width, height = picture.size
    for row in range(13):
        share = row / 12
        base = horizon + 4 + (height - horizon) * share**1.35
        line = ridge(width, rng, base, 5 + 22 * share, 9 - round(6 * share), 0.45)
        shade = round(138 - 92 * share)
        lay(picture, (shade, shade, shade), under(picture, line, height))
        crest = Image.new("L", picture.size)
        ImageDraw.Draw(crest).line([(x, y) for x, y in enumerate(line)], fill=170, width=2)
        foam = levels(clouds(picture.size, (24, 10), rng, 2), 120, 190)
        lay(picture, (222, 222, 222), ImageChops.multiply(crest, foam))


def lighthouse() -> Image.Image:
    """Upright: a striped lighthouse over surf, its lamp just lit."""
    rng = dice("lighthouse")
    picture = canvas(220, 330)
    width, height = picture.size
    sea = round(height * 0.74)
    picture.paste(
        gradient(
            (width, sea), [(0, (46, 84, 140)), (0.5, (118, 150, 186)), (0.85, (244, 190, 160)), (1, (252, 208, 170))]
        ),
        (0, 0),
    )
    lay(picture, (255, 222, 206), levels(placed(clouds((width, sea), (2, 8), rng), picture.size), 110, 235, 0.75))
    picture.paste(
        gradient((width, height - sea), [(0, (120, 140, 160)), (0.3, (52, 92, 116)), (1, (20, 46, 66))]), (0, sea)
    )
    _surf(picture, sea)
    lamp = (width * 0.58, height * 0.205)
    beam = Image.new("L", picture.size)
    for reach in (-1, 1):
        ImageDraw.Draw(beam).polygon(
            [
                lamp,
                (lamp[0] + reach * width, lamp[1] - height * 0.1),
                (lamp[0] + reach * width, lamp[1] + height * 0.02),
            ],
            fill=80,
        )
    lay(picture, (255, 240, 190), soft(beam, 5))
    crag = ridge(width, rng, height * 0.88, height * 0.05, 3, 0.55)
    rock = [y - height * 0.1 * math.exp(-(((x / width - 0.55) / 0.26) ** 4)) for x, y in enumerate(crag)]
    mask = under(picture, rock, height * 0.87)
    lay(picture, (58, 50, 54), mask)
    stone = ImageChops.multiply(mask, levels(clouds(picture.size, (20, 30), rng), 110, 200, 0.55))
    lay(picture, (146, 118, 104), stone)
    _tower(picture, lamp, height * 0.8)
    glow(picture, lamp, width * 0.2, (255, 232, 150), 1.0)
    draw = ImageDraw.Draw(picture)
    for _ in range(5):
        x, y = rng.uniform(0.08, 0.42) * width, rng.uniform(0.16, 0.42) * height
        for wing in (-1, 1):
            draw.line([(x, y), (x + wing * 9, y - 6), (x + wing * 18, y - 2)], fill=(60, 66, 84), width=2)
    return grain(vignette(finished(picture), 0.25), rng, 3.5)


def _surf(picture: Image.Image, sea: int) -> None:
    rng = dice("surf")
    width, height = picture.size
    foam = levels(clouds((width, height - sea), (5, 26), rng, 4), 150, 225, 0.75)
    whole = Image.new("L", picture.size)
    whole.paste(foam, (0, sea))
    lay(picture, (232, 238, 238), whole)


def _tower(picture: Image.Image, lamp: tuple[float, float], foot: float) -> None:
    width, height = picture.size
    top = lamp[1] + height * 0.035
    low, high = width * 0.125, width * 0.075
    tower = Image.new("L", picture.size)
    ImageDraw.Draw(tower).polygon(
        [(lamp[0] - high, top), (lamp[0] + high, top), (lamp[0] + low, foot), (lamp[0] - low, foot)], fill=255
    )
    paint = Image.new("RGB", picture.size, (244, 238, 226))
    draw = ImageDraw.Draw(paint)
    band = (foot - top) / 7
    for stripe in (0, 2, 4, 6):
        draw.rectangle((0, top + band * stripe, width, top + band * (stripe + 1)), fill=(190, 48, 44))
    for floor in (1.5, 3.5, 5.5):
        y = top + band * floor
        draw.rounded_rectangle((lamp[0] - 7, y - 11, lamp[0] + 7, y + 11), 5, fill=(50, 52, 66))
    shade = Image.linear_gradient("L").rotate(90).resize((round(low * 2), height))
    dark = Image.new("L", picture.size)
    dark.paste(levels(ImageOps.mirror(shade), 90, 255, 0.62), (round(lamp[0] - low), 0))
    paint.paste((42, 34, 62), (0, 0), dark)
    picture.paste(paint, (0, 0), tower)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((lamp[0] - high * 1.35, top - 7, lamp[0] + high * 1.35, top + 4), fill=(44, 44, 56))
    draw.rectangle((lamp[0] - high * 0.62, lamp[1] - 24, lamp[0] + high * 0.62, top - 7), fill=(255, 240, 180))
    for bar in (-0.62, -0.2, 0.2, 0.62):
        draw.line((lamp[0] + high * bar, lamp[1] - 24, lamp[0] + high * bar, top - 7), fill=(44, 44, 56), width=3)
    draw.pieslice(
        (lamp[0] - high * 0.8, lamp[1] - 62, lamp[0] + high * 0.8, lamp[1] + 14), 180, 360, fill=(168, 40, 40)
    )
    draw.line((lamp[0], lamp[1] - 84, lamp[0], lamp[1] - 60), fill=(44, 44, 56), width=3)
