"""Good and bad examples of every kind of input, to be mutated: recipes, answers to each row, pictures of each sort."""

import base64
import json
import struct
import zlib
from pathlib import Path

from PIL import Image, ImageCms

from runner.images import provenance
from tests.images.samples import chunk, encoded, orientation, png, scene, sixteen_bit_png

HOUSE = Path(__file__).parents[2]

AMOUNT_WORDS = (
    *(
        b"0",
        b"1",
        b"9",
        b".",
        b"-",
        b"+",
        b"e",
        b"E",
        b"_",
        b" ",
        b"\n",
        b"\0",
        b"NaN",
        b"Infinity",
        b"0x",
        b"1E+1000000",
    ),
    *("٣".encode(), "９".encode(), "．".encode(), b"000000", b"999999999", b"0.000000000001", b",", b"\xff"),
)
ANSWER_WORDS = (
    *(
        b'"',
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b",",
        b"null",
        b"true",
        b"NaN",
        b"-Infinity",
        b"1e999999",
        b"\\u0000",
        b"\\ud800",
    ),
    *(b'"usage"', b'"billed_amount"', b'"billed\\u005famount"', b'"0.039000"', b'"0.000000"', b'"error"', b'"data"'),
    *(b'"b64_json"', b'"url"', b'"https://x.example/"', b'"QUJD"', b'"detail"', b'"name"', b'"errors"', b'"code"'),
    *(b"omx_live_fuzz-Key_4hT9q", b"omx_live_fuzz\\u002dKey_4hT9q", b"omx_live_fuzz%2DKey_4hT9q", b"moderation"),
    *(
        b"insufficient_quota",
        b"\\",
        b"\\\\",
        b"<script",
        b"&",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\x1f\x8b",
        b"[" * 70,
        b'"' * 9,
    ),
)
TOML_WORDS = (
    *(
        b"[",
        b"]",
        b"[[",
        b"]]",
        b"{",
        b"}",
        b"=",
        b".",
        b",",
        b"'",
        b'"',
        b"'''",
        b'"""',
        b"#",
        b"\n",
        b"\\",
        b"\0",
        b"\xff",
    ),
    *(b"true", b"nan", b"inf", b"1e999999999", b"1979-05-27", b"{stem}", b"{file:prompts/restore.txt}", b"{{", b"../"),
    *(b"omx_live_abcdef", b"\xe2\x80\xae", b"[prompts.x]", b"[[sources]]", b"[output]", b"[budget]", b"[schedule]"),
    *(b"folder", b"text", b"file", b"name", b"cron", b"* * * * *", b"include", b"**/", b"[a-", b"day", b"99999999999"),
)
CONTRACT_WORDS = (
    *(
        b"[",
        b"]",
        b"[[fields]]",
        b"[pictures]",
        b"{",
        b"}",
        b"=",
        b'"',
        b"#",
        b"\n",
        b"\\",
        b"\0",
        b"\xff",
        b"nan",
        b"inf",
    ),
    *(b"input_images", b"output_format", b"prompt", b"seed", b"model", b"array", b"string", b"integer", b"number"),
    *(b'"0-1"', b'"1-2 characters"', b'["png"]', b'"up to 0 characters"', b"-0.5", b"1e999999999", b"9" * 30, b"true"),
    *(b"prompt-to-image", b"upscaling", b"omx_live_abcdef", b"\xe2\x80\xae", b"stability-upscale-creative", b"../"),
)
APPROVED_WORDS = (
    *(b'"', b"{", b"}", b"[", b"]", b":", b",", b"\\u0000", b"\\ud800", b"null", b"true", b"1.5", b"-1", b"NaN"),
    *(b"9" * 5000, b"[" * 5000, b"0.000000", b"12.000001", b"1e9", b"\xff", b"0" * 64, b"2026-13-01T00:00:00.000000Z"),
    *(b'"max"', b'"plan"', b'"key"', b'"signature"', b'"schema"', b'"items"', b'"buy"', b"ed25519:", b"AAAA", b"=="),
)
NAME_WORDS = (
    *(
        b"{stem}",
        b"{dir}",
        b"{suffix}",
        b"{parent}",
        b"{prompt}",
        b"{preset}",
        b"{recipe}",
        b"/",
        b"..",
        b".",
        b"\0",
        b" ",
    ),
    *(
        b"con",
        b"NUL",
        b"lpt1",
        b"com\xc2\xb9",
        b"CONIN$",
        b"~",
        b"\\",
        b":",
        b"\n",
        b"\x1b[2J",
        b"{{",
        b"}}",
        b"x" * 90,
    ),
    *("\u202e".encode(), "\u2066".encode(), "\u200b".encode(), "ü".encode(), "u\u0308".encode(), "ß".encode(), b"\xff"),
)
PICTURE_WORDS = (
    *(
        b"\xff\xd8",
        b"\xff\xd9",
        b"\xff\xda",
        b"\xff\xfe\0\2",
        b"\xff\xe1",
        b"\xff\xc2",
        b"\xff\xc0",
        b"Exif\0\0",
        b"MM\0*",
    ),
    *(
        b"IHDR",
        b"IDAT",
        b"IEND",
        b"acTL",
        b"fcTL",
        b"PLTE",
        b"tRNS",
        b"iCCP",
        b"eXIf",
        b"zTXt",
        b"VP8X",
        b"VP8L",
        b"ANMF",
    ),
    *(
        b"\xff\xff\xff\xff",
        b"\x7f\xff\xff\xff",
        b"\0\0\0\0",
        b"\x80\0\0\0",
        b"\0\0\xea\x60",
        b"\x10",
        b"ICC_PROFILE\0\1\1",
    ),
)


STAMP_WORDS = (
    *(b"<rdf:Description ", b"</rdf:RDF>", b"<rdf:RDF>", b"omixa:attempt=", b'"12"', b"&#48;", b"&x;", b"/>", b"<a>"),
    *(b"<!DOCTYPE x>", b"<!ENTITY x 'y'>", b"XML:com.adobe.xmp\0", b"http://ns.adobe.com/xap/1.0/\0", b"XMP ", b"VP8X"),
    *(
        b"urn:omixa:provenance:1#",
        b"iTXt",
        b"zTXt",
        b"Raw profile type xmp\0",
        b"\xff\xe1",
        b"\xff\xda",
        b"\xef\xbb\xbf",
    ),
    *(b"\0", b"\xff", b'"', b"'", b"\0\0\0\0", b"\xff\xff\xff\xff"),
)


def amounts() -> list[bytes]:
    """Amounts of every length, and what somebody could mean by one."""
    good = ["0", "0.039000", "999999999.999999999999", "1", "12.5", "0.000001", "0.0000001", "123456789", "0.600000"]
    bad = [
        "",
        "-1",
        "+1",
        "1e3",
        "1E+1000000",
        "NaN",
        "0_039.0",
        "00.1",
        ".5",
        "5.",
        "1.0000000000000",
        " 1",
        "1\n",
        "٣",
    ]
    return [text.encode() for text in good + bad]


def answers() -> list[bytes]:
    """An answer of every row of contract B and every rung of contract R, with each status somewhere."""
    short = base64.b64encode(b"\x89PNG picture bytes" * 3).decode()
    long = base64.b64encode(bytes(range(256)) * 12).decode()
    bill = {"billed_amount": "0.039000"}
    bodies: list[object] = [
        {"created": 1780660800, "data": [{"b64_json": short, "url": None}], "usage": bill},
        {"created": 1780660800, "data": [{"b64_json": long, "url": None}], "usage": bill},
        {"data": [{"b64_json": "data:image/png;base64," + long}], "usage": {"billed_amount": "0.000000"}},
        {"data": [{"b64_json": None, "url": "https://pictures.example/1?sig=x"}], "usage": bill},
        {"data": [{"b64_json": short}]},
        {"usage": bill},
        {"error": {"message": "bad key omx_live_fuzz-Key_4hT9q", "type": "auth", "code": 401}},
        {"error": "insufficient_quota", "usage": {"billed_amount": "0.000000"}},
        {"error": {"message": "no", "usage": bill}},
        {"name": "bad_request", "errors": ["a", {"message": "b", "field": "seed"}], "id": "f0a1"},
        {"name": "content_moderation", "errors": ["x"]},
        {"detail": [{"loc": ["body", "seed"], "msg": "too big", "type": "t"}]},
        {"title": "Bad", "detail": "very", "status": 400, "type": "about:blank"},
        {"message": "the upstream said " + json.dumps({"usage": bill})},
        {"usage": {"billed_amount": 0.039}},
        [{"usage": bill}],
        "a text",
    ]
    raw = [json.dumps(body).encode() for body in bodies]
    raw += [
        b"<html><title>502 Bad</title><p>a &amp; b</p>",
        b'{"usage": {"billed_amount": "0.6"}, "da',
        b"",
        b"\x1f\x8b\x08",
    ]
    raw += [json.dumps(bodies[0]).encode("utf-16"), b'{"error": "\\u006fmx_live_fuzz-Key_4hT9q"}']
    return [
        bytes([status, headers]) + body
        for body in raw
        for status, headers in ((0, 1), (6, 1), (7, 3), (17, 2), (19, 0))
    ]


def tomls() -> list[bytes]:
    """Every recipe and omixa.toml of this repository, the broken ones too."""
    found = [
        b"\0" + path.read_bytes() for path in [*HOUSE.glob("recipes/*.toml"), *HOUSE.glob("tests/problems/*.toml")]
    ]
    found += [b"\0" + path.read_bytes() for path in HOUSE.glob("tests/problems/*/recipes/*.toml")]
    found += [b"\1" + path.read_bytes() for path in HOUSE.glob("omixa.toml")]
    found += [b"\1" + path.read_bytes() for path in HOUSE.glob("tests/problems/*/omixa.toml")]
    return sorted(one for one in found if len(one) < 20_000)


def contracts() -> list[bytes]:
    """Every contract file of this repository, the broken ones too."""
    found = [*HOUSE.glob("contracts/*.toml"), *HOUSE.glob("tests/problems/*/contracts/*.toml")]
    return sorted(path.read_bytes() for path in found)


def approved() -> list[bytes]:
    """A frozen plan, and an approval that is signed."""
    from tests.fuzz.targets import SIGNED

    item = {"action": "buy", "key": "1" * 64, "source": "a.png", "digest": "2" * 64, "prompt": "restore"}
    item |= {"prompt_digest": "3" * 64, "negative_digest": None, "preset": "", "options": {"seed": "7"}, "output": "b"}
    recipe = {"name": "posters", "path": "recipes/posters.toml", "digest": "4" * 64, "author": None, "model": "m"}
    recipe |= {"budget": {"run": "1.000000"}, "ceiling": "0.700000", "expected": "0.039000", "buy": 1}
    recipe |= {"expected_cost": "0.039000", "worst_cost": "0.700000", "items": [item]}
    workspace = {"account": "studio", "name": "studio", "currency": "USD", "time_zone": "UTC", "endpoint": "sandbox"}
    workspace |= {"url": None, "budget": {"month": "5.000000"}}
    plan = {"schema": "omixa.plan-file/1", "program": "p", "ledger": "l", "made_at": "2026-11-22T12:00:00.000000Z"}
    plan |= {"made_by": {"who": "ana@desk", "git": None}, "commit": None, "dirty": None, "reroll": False, "limit": None}
    plan |= {"workspace": workspace, "recipes": [recipe]}
    return [json.dumps(one).encode() for one in (plan, *SIGNED)]


def output_names() -> list[bytes]:
    """Templates with pictures of hostile names."""
    templates = [
        "{dir}/{stem}",
        "{stem}",
        "{recipe}/{parent}/{dir}/{stem}.{suffix}.{prompt}{preset}",
        "a b",
        "{{x}}/{stem}.",
    ]
    pictures = [
        "a.png",
        "sub/a.JPG",
        ".../aux/a.png",
        "con.png",
        "\u202egnp.exe.png",
        "x" * 190 + ".png",
        "ü/ß.webp",
        "a:b.png",
    ]
    return [f"{template}\0{picture}".encode() for template in templates for picture in pictures]


COMMENT_WORDS = (b"|", b"<", b"&lt;", b"@team", b"#1", b"`", b"**", b"](", b"www.", b"://", b"\\", b"\0", b"&#")


def comments() -> list[bytes]:
    """Prompts and names as branches have them, good and bad."""
    texts = [
        "Preserve the subject while restoring crisp, realistic detail.",
        "</code>|<script>alert(1)</script> @team #1 !2 [x](http://e) `c` **b** &lt; www.e.example <!-- \\ \u202e",
        "a | b\n- c\n\n# d\n\n<details>",
        "  spaces  ~~gone~~ _so_ $x$ :smile: GH-1 user/repo#1 \u2060",
        "omx_live_0123456789abcdef",
        "&amp;&#64;&commat;team",
    ]
    return [text.encode() for text in texts]


def pictures() -> list[bytes]:
    """A picture of every kind, good, odd and hostile; small ones, so that many can be tried."""
    small = scene(64, 64)
    files = [encoded(small.convert(mode), "PNG") for mode in ("RGB", "L", "RGBA", "LA", "P", "1")]
    files += [encoded(small, "JPEG"), encoded(small, "JPEG", progressive=True), encoded(small.convert("L"), "JPEG")]
    files += [encoded(small.convert("CMYK"), "JPEG"), encoded(small, "JPEG", exif=orientation(6))]
    files += [encoded(small, "WEBP"), encoded(small, "WEBP", lossless=True), encoded(small.convert("RGBA"), "WEBP")]
    files += [encoded(small, "PNG", exif=orientation(5)), encoded(small, "WEBP", exif=orientation(8))]
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # Under another name it is one that pictures are converted from.
    foreign = profile.replace("sRGB".encode("utf-16-be"), "xRGB".encode("utf-16-be"))
    files += [encoded(small, kind, icc_profile=one) for kind in ("PNG", "JPEG", "WEBP") for one in (profile, foreign)]
    files += [sixteen_bit_png(), sixteen_bit_png(colour=0), *_animated(small), *_bombs(small)]
    files += [encoded(small, kind) for kind in ("GIF", "BMP", "TIFF")]
    files += [file[: len(file) // 2] for file in files[:12]]
    return [bytes([wishes]) + file for number, file in enumerate(files) for wishes in (number % 8, 12)]


def stamped_pictures() -> list[bytes]:
    """Pictures with a stamp, with somebody's XMP, with both and with none."""
    packet = provenance._EMPTY.replace(
        b"</rdf:RDF>", provenance._written(provenance.Stamp(*["ab" * 16] * 8)) + b"</rdf:RDF>"
    )
    theirs = provenance._EMPTY.replace(b"omixa", b"other")
    files = []
    for kind in ("PNG", "JPEG", "WEBP"):
        plain = encoded(scene(64, 64), kind)
        files.append(plain)
        for one in (packet, theirs, theirs.replace(b"</rdf:RDF>", provenance._written(_STAMP) + b"</rdf:RDF>")):
            if kind == "PNG":
                files.append(plain[:33] + chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + one) + plain[33:])
            else:
                files.append(encoded(scene(64, 64), kind, xmp=one))
    return files


_STAMP = provenance.Stamp("ab" * 16, "3", "cd" * 16, "one", "m", "o", "s", "2026", "commit", "slot")


def _animated(small: Image.Image) -> list[bytes]:
    other = [small.rotate(90)]
    return [encoded(small, kind, save_all=True, append_images=other) for kind in ("PNG", "WEBP")]


def _bombs(small: Image.Image) -> list[bytes]:
    plain = bytearray(encoded(small, "JPEG"))
    start = plain.index(b"\xff\xc0") + 5
    plain[start : start + 4] = struct.pack(">HH", 30_000, 30_000)
    rows = (b"\0" + b"\x10" * 64 * 3) * 64
    second = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(900_000)))
    size = (16_383).to_bytes(3, "little")
    extended = struct.pack("<4sI", b"VP8X", 10) + bytes(4) + size + size
    inner = encoded(small, "WEBP")[12:]
    webp = b"RIFF" + struct.pack("<I", 4 + len(extended) + len(inner)) + b"WEBP" + extended + inner
    return [
        bytes(plain),
        webp,
        png(30_000, 30_000, 8, 2, bytes(10_000)),
        png(64, 64, 8, 2, rows, second),
        png(64, 64, 8, 2, rows, text),
    ]
