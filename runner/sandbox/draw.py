"""What the local endpoint makes for models that do not enlarge: placeholders and cut-outs. Honest, and nobody's model.

A prompt is not read: it only decides colours and places, so that equal requests give equal pictures and others differ.
"""

import random
import re

from PIL import Image, ImageChops, ImageDraw, ImageFont

PIXELS = 1024 * 1024
# How far from the colour of a corner a colour is still background, and from where on it is none; 0–255 in any channel.
SAME, OTHER = 24, 56
_SIDES = re.compile(r"([1-9][0-9]?):([1-9][0-9]?)", re.ASCII)
_LABEL = "PLACEHOLDER: drawn by the omixa sandbox"


def placeholder(variation: str, aspect_ratio: str | None = None) -> Image.Image:
    """A picture of about PIXELS with the word PLACEHOLDER in it. Equal `variation` gives equal pixels.

    `aspect_ratio` such as `16:9`; square where it is None or written in another way.
    """
    dice = random.Random(variation)  # noqa: S311 - colours, not a secret
    width, height = size_of(aspect_ratio)
    across = Image.linear_gradient("L").rotate(90).resize((width, height))
    down = Image.linear_gradient("L").resize((width, height))
    image = Image.merge("RGB", (across, down, Image.new("L", (width, height), dice.randrange(256))))
    draw = ImageDraw.Draw(image)
    for _ in range(24):
        radius = dice.randrange(width // 40, width // 6)
        x, y = dice.randrange(width), dice.randrange(height)
        colour = (dice.randrange(256), dice.randrange(256), dice.randrange(256))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    _label(image, draw)
    return image


def size_of(aspect_ratio: str | None) -> tuple[int, int]:
    """Width and height in pixels, about PIXELS in all and whole multiples of 8."""
    sides = _SIDES.fullmatch(aspect_ratio or "")
    across, down = (int(sides[1]), int(sides[2])) if sides else (1, 1)
    width = int((PIXELS * across / down) ** 0.5)
    return max(8, width // 8 * 8), max(8, width * down // across // 8 * 8)


def cut_out(image: Image.Image) -> Image.Image:
    """The picture as RGBA, transparent wherever its colour is nearly that of one of its four corners.

    `image` comes from `enlarge.decoded`. No shape is recognised: a subject of the background's colour goes with it.
    """
    right, bottom = image.width - 1, image.height - 1
    colours = image.convert("RGB")
    corners = {colours.getpixel(at) for at in ((0, 0), (right, 0), (0, bottom), (right, bottom))}
    alpha = Image.new("L", image.size, 255)
    for corner in sorted(corners, key=str):
        difference = ImageChops.difference(colours, Image.new("RGB", image.size, corner))
        furthest = ImageChops.lighter(ImageChops.lighter(*difference.split()[:2]), difference.getchannel("B"))
        ramp = [0 if d <= SAME else 255 if d >= OTHER else (d - SAME) * 255 // (OTHER - SAME) for d in range(256)]
        alpha = ImageChops.darker(alpha, furthest.point(ramp))
    if image.mode == "RGBA":
        alpha = ImageChops.darker(alpha, image.getchannel("A"))
    # What is cut out is gone, and not only hidden.
    kept = Image.composite(colours, Image.new("RGB", image.size), alpha.point([0] + [255] * 255))
    result = kept.convert("RGBA")
    result.putalpha(alpha)
    return result


def _label(image: Image.Image, draw: ImageDraw.ImageDraw) -> None:
    """The words, on a band of their own, so that nobody takes the picture for a bought one."""
    font = ImageFont.load_default()
    left, top, right, bottom = (int(side) for side in font.getbbox(_LABEL))
    words = Image.new("L", (right - left + 4, bottom - top + 4), 0)
    ImageDraw.Draw(words).text((2 - left, 2 - top), _LABEL, fill=255, font=font)
    scale = max(1, image.width * 9 // 10 // words.width)
    words = words.resize((words.width * scale, words.height * scale), Image.Resampling.NEAREST)
    y = (image.height - words.height) // 2
    draw.rectangle((0, y - 8, image.width, y + words.height + 8), fill=(20, 20, 24))
    image.paste((255, 255, 255), ((image.width - words.width) // 2, y), words)
