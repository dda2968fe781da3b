"""The local endpoint keeps the contract: what the model page shows works, all else is refused by name."""

import base64
import json
import shutil
import struct
import subprocess
import zlib
from decimal import Decimal

import pytest
from PIL import Image
from sandbox_client import KEY, ask, dial, drawn, file_of, head, item, picture_of, read_all, request

from runner.contracts import CONTRACTS
from runner.contracts.contract import Contract, Field, PictureLimits
from runner.sandbox.judge import Accepted, Refused, judge

MODEL = "stability-upscale-creative"

# The example of the model page, letter by letter.
CURL_EXAMPLE = r"""curl -X POST http://omixa.cloud/api/v1/images/generations \
-H "Authorization: Bearer omx_live_xxx" \
-H "Content-Type: application/json" \
-d '{
"model": "stability-upscale-creative",
"output_format": "png",
"input_images": [
{
"type": "image_url",
"image_url": {
"url": "data:image/png;base64,<base64-image>"
}
}
],
"prompt": "Preserve the subject while restoring crisp, realistic detail.",
"creativity": 0.3,
"style_preset": "photographic"
}'"""


def judged(**fields):
    return judge(json.dumps(request(**fields)).encode())


def test_the_example_of_the_model_page_works_with_only_host_and_picture_put_in(sandbox):
    picture = base64.b64encode(file_of(drawn(80, 64))).decode()
    command = CURL_EXAMPLE.replace("http://omixa.cloud/api/v1", sandbox.url).replace("<base64-image>", picture)
    if shutil.which("curl"):
        text = subprocess.run(["sh", "-c", command], check=True, capture_output=True, text=True).stdout
    else:
        text = ask(sandbox, command.split("-d '")[1].removesuffix("'").encode()).text
    answer = json.loads(text)
    assert list(answer) == ["created", "data", "usage"]
    assert list(answer["data"][0]) == ["b64_json", "url"]
    assert answer["data"][0]["url"] is None
    assert answer["usage"] == {"billed_amount": "0.039000"}
    assert isinstance(answer["created"], int)
    assert base64.b64decode(answer["data"][0]["b64_json"], validate=True).startswith(b"\x89PNG")


def test_every_answer_says_that_it_is_not_the_model_and_has_a_request_id_and_a_date(sandbox):
    for answer in (ask(sandbox), ask(sandbox, b"{}")):
        assert answer.headers["x-sandbox"] == "resampled locally; not the Stability model"
        assert answer.headers["x-request-id"].startswith("sandbox-")
        assert answer.headers["Date"].endswith("GMT")
    assert answer.json()["id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model": None}, "`model` is required"),
        ({"model": 7}, "`model` must be a string"),
        ({"model": "stability-upscale-creativ"}, "did you mean `stability-upscale-creative`?"),
        ({"input_images": None}, "`input_images` is required"),
        ({"input_images": []}, "`input_images` must be an array of exactly 1 item"),
        ({"input_images": {}}, "`input_images` must be an array"),
        ({"input_images": [item(b""), item(b"")]}, "`input_images` must be an array of exactly 1 item"),
        ({"input_images": ["x"]}, "`input_images[0]` must be an object"),
        ({"prompt": None}, "`prompt` is required"),
        ({"prompt": ""}, "`prompt` must have at least 1 character"),
        ({"prompt": "x" * 10_001}, "`prompt` has 10001 characters"),
        ({"prompt": 3}, "`prompt` must be a string"),
        ({"negative_prompt": "x" * 10_001}, "`negative_prompt` has 10001 characters"),
        ({"output_format": "jpg"}, "`output_format` has no value `jpg`"),
        ({"seed": -1}, "`seed` must be 0-4294967294"),
        ({"seed": 4294967295}, "`seed` must be 0-4294967294"),
        ({"seed": 1.5}, "`seed` must be an integer"),
        ({"seed": True}, "`seed` must be an integer"),
        ({"seed": "1"}, "`seed` must be an integer"),
        ({"creativity": 0.09}, "`creativity` must be 0.1-0.5"),
        ({"creativity": 0.51}, "`creativity` must be 0.1-0.5"),
        ({"creativity": "0.3"}, "`creativity` must be a number"),
        ({"style_preset": "photografic"}, "did you mean `photographic`?"),
        ({"creativty": 0.3}, f"{MODEL} has no option `creativty`; did you mean `creativity`?"),
        ({"n": 1}, "has no option `n`"),
    ],
)
def test_each_violated_field_is_refused_with_the_field_named(sandbox, fields, said):
    answer = ask(sandbox, request(**fields))
    assert answer.status_code == 400
    error = answer.json()
    assert list(error) == ["id", "name", "errors"]
    assert error["name"] == "bad_request"
    assert len(error["errors"]) == 1
    assert said in error["errors"][0]
    assert sandbox.counts().billed_micros == 0


def test_all_that_is_wrong_is_said_at_once(sandbox):
    errors = ask(sandbox, request(prompt=None, seed=-1, extra=1, input_images=[])).json()["errors"]
    assert [error for name in ("prompt", "seed", "extra", "input_images") for error in errors if f"`{name}`" in error]
    assert len(errors) == 4


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "x"},
        {"prompt": "\N{GRINNING FACE}" * 10_000},
        {"negative_prompt": ""},
        {"negative_prompt": "x" * 10_000},
        {"seed": 0},
        {"seed": 4294967294},
        {"creativity": 0.1},
        {"creativity": 0.5},
        {"output_format": None},
        *({"style_preset": word} for word in CONTRACTS[MODEL].field("style_preset").choices),
    ],
)
def test_what_lies_just_inside_the_limits_is_accepted(fields):
    assert isinstance(judged(**fields), Accepted)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"type": "image", "image_url": {"url": "x"}}, "`input_images[0].type` must be `image_url`"),
        ({"image_url": {"url": "x"}}, "`input_images[0].type` is required"),
        ({"type": "image_url"}, "`input_images[0].image_url` is required"),
        ({"type": "image_url", "image_url": "x"}, "`input_images[0].image_url` must be an object"),
        ({"type": "image_url", "image_url": {}}, "`input_images[0].image_url.url` is required"),
        ({"type": "image_url", "image_url": {"url": 1}}, "`input_images[0].image_url.url` must be a string"),
        ({"type": "image_url", "image_url": {"url": "x", "detail": "high"}}, "has no field `detail`"),
        ({"type": "image_url", "image_url": {"url": "x"}, "id": 1}, "`input_images[0]` has no field `id`"),
        ({"type": "image_url", "image_url": {"url": "http://127.0.0.1/a.png"}}, "pictures are sent inline"),
        ({"type": "image_url", "image_url": {"url": "data:image/png,abc"}}, "must be a data URL"),
        (item(b"x", "image/jpg"), "declares the media type `image/jpg`; accepted: image/png, image/jpeg"),
        (item(b"x", "image/gif"), "declares the media type `image/gif`"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ"}}, "is not strict base64"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ==\n"}}, "is not strict base64"),
        (item(b""), "says image/png, but its bytes are no picture that is known"),
        (item(file_of(drawn(), "JPEG")), "says image/png, but its bytes are image/jpeg"),
        (item(file_of(drawn(), "GIF")), "says image/png, but its bytes are no picture that is known"),
        (item(file_of(drawn())[:-40]), "it cannot be decoded"),
        (item(file_of(drawn())[:20]), "its header cannot be read"),
        (item(file_of(drawn(63, 100))), "63 px side, at least 64 px needed"),
        (item(file_of(drawn(1025, 1024))), "1025 × 1024 = 1049600 pixels, at most 1048576"),
    ],
)
def test_each_fault_of_the_picture_item_is_refused_with_its_place(wrong, said):
    verdict = judged(input_images=[wrong])
    assert isinstance(verdict, Refused)
    assert len(verdict.errors) == 1
    assert said in verdict.errors[0]
    assert "`input_images[0]" in verdict.errors[0]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("size", [(64, 64), (1024, 1024), (64, 16384)])
def test_pictures_at_the_limits_are_accepted_in_each_format(kind, size):
    if kind == "WEBP" and max(size) > 16383:
        size = (64, 16383)  # WebP has no more
    file = file_of(drawn(*size), kind)
    assert isinstance(judged(file=file, media_type=f"image/{kind.lower()}"), Accepted)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_animated_picture_is_refused_by_its_frames(kind):
    moving = file_of(drawn(), kind, save_all=True, append_images=[drawn().rotate(90)], duration=100)
    verdict = judged(file=moving, media_type=f"image/{kind.lower()}")
    assert "is animated" in verdict.errors[0]
    still = file_of(drawn(), kind, save_all=True, append_images=[], duration=100)
    assert isinstance(judged(file=still, media_type=f"image/{kind.lower()}"), Accepted)


def png_that_claims(width, height):
    """A PNG whose header claims a size, and whose pixels are rubbish: reading them would be noticed."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"rubbish") + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [1200, 12_000, 30_000, 2**31 - 1])
def test_a_bomb_is_refused_on_its_header(side):
    error = judged(file=png_that_claims(side, side)).errors[0]
    assert "at most 1048576 accepted" in error or "header cannot be read" in error
    assert "decoded" not in error


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "is not JSON"),
        (b"nonsense", "is not JSON"),
        (b"[]", "must be one JSON object"),
        (b"{} {}", "is not JSON"),
        (b"\xff\xfe{\x00}\x00", "is not UTF-8"),
        (b'{"seed": NaN}', "`NaN`"),
        (b'{"seed": Infinity}', "`Infinity`"),
        (b'{"seed": 1, "seed": 2}', "`seed` twice"),
        (b'{"input_images": [{"type": 1, "type": 2}]}', "`type` twice"),
        (b'{"seed": 1e9999999999999999999999}', "a number that nobody can hold"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "too many digits"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (json.dumps({str(number): 1 for number in range(65)}).encode(), "has 65 fields"),
    ],
)
def test_a_body_that_is_not_one_strict_json_object_is_refused(body, said):
    verdict = judge(body)
    assert isinstance(verdict, Refused)
    assert verdict.status == 400
    assert said in verdict.errors[0]


def test_a_long_value_is_not_echoed_in_full():
    assert all(len(error) <= 300 for error in judged(style_preset="x" * 100_000).errors)


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer ", "bearer x", "Basic x", f"{KEY}", "Bearer a b"]
)
def test_without_a_well_formed_key_nothing_is_done(sandbox, authorization):
    answer = ask(sandbox, Authorization=authorization)
    assert answer.status_code == 401
    assert answer.json()["name"] == "unauthorized"
    assert "Authorization" in answer.json()["errors"][0]
    assert sandbox.counts().pictures == 0


def test_only_the_declared_key_is_accepted(serve):
    sandbox = serve(key="omx_live_right")
    assert ask(sandbox, Authorization="Bearer omx_live_wrong").status_code == 401
    assert ask(sandbox, Authorization="Bearer omx_live_right").status_code == 200


@pytest.mark.parametrize("media_type", [None, "text/plain", "application/jsonx", "application/json; charset=latin-1"])
def test_another_content_type_is_refused(sandbox, media_type):
    answer = ask(sandbox, Content_Type=media_type)
    assert answer.status_code == 415
    assert "Content-Type" in answer.json()["errors"][0]


def test_json_with_a_utf_8_charset_is_accepted(sandbox):
    assert ask(sandbox, Content_Type="application/json; charset=UTF-8").status_code == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"])
def test_another_method_is_refused_with_what_is_allowed(sandbox, method):
    with dial(sandbox) as connection:
        start = f"{method} /api/v1/images/generations HTTP/1.1"
        connection.sendall(head(sandbox, "Connection: close", start=start))
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"\r\nAllow: POST\r\n" in answer
    assert answer.endswith(b"\r\n\r\n") == (method == "HEAD")
    assert sandbox.counts().requests == 0


@pytest.mark.parametrize(
    "path", ["/", "/api/v1/images", "/api/v1/images/generations/", "/api/v1/images/generations?a=1"]
)
def test_another_path_is_not_there(sandbox, path):
    with dial(sandbox) as connection:
        connection.sendall(
            head(sandbox, "Connection: close", "Content-Length: 2", start=f"POST {path} HTTP/1.1") + b"{}"
        )
        assert read_all(connection).startswith(b"HTTP/1.1 404 ")
    assert sandbox.counts().requests == 0


def test_a_broken_request_line_is_refused_in_the_same_shape(sandbox):
    with dial(sandbox) as connection:
        connection.sendall(b"POST nonsense here HTTP/one\r\n\r\n")
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["name"] == "bad_request"


def test_a_body_above_ten_mebibytes_is_refused_on_its_announced_length(sandbox):
    with dial(sandbox) as connection:
        connection.sendall(head(sandbox, f"Content-Length: {10 * 1024 * 1024 + 1}"))
        answer = connection.recv(65536)  # comes although not a byte of the body was sent
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"payload_too_large"' in answer
    assert sandbox.counts().requests == 0
    assert sandbox.counts().refused == {413: 1}


def test_a_client_that_sends_too_much_without_looking_still_reads_the_refusal(sandbox):
    body = b" " * (11 * 1024 * 1024)
    with dial(sandbox) as connection:
        connection.sendall(head(sandbox, f"Content-Length: {len(body)}"))
        connection.sendall(body)  # would be reset if the server closed at once
        assert read_all(connection).startswith(b"HTTP/1.1 413 ")
    assert ask(sandbox, body).status_code == 413


def test_a_body_of_ten_mebibytes_is_read(sandbox):
    body = json.dumps(request()).encode()
    assert ask(sandbox, body + b" " * (10 * 1024 * 1024 - len(body))).status_code == 200


def chunked(*pieces):
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces, b""))


def test_a_chunked_body_is_read_like_any_other(sandbox):
    body = json.dumps(request()).encode()
    with dial(sandbox) as connection:
        connection.sendall(head(sandbox, "Transfer-Encoding: chunked", "Connection: close"))
        connection.sendall(chunked(body[:100], body[100:]))
        assert read_all(connection).startswith(b"HTTP/1.1 200 ")
    assert sandbox.counts().requests == 1


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"a00001\r\n", 413),  # 10 MiB and a byte, in one chunk
        (b"100000\r\n" + b" " * 2**20 + b"\r\n" + b"900001\r\n", 413),  # the same, in two
        (b"zz\r\n", 400),
        (b"-1\r\n", 400),
        (b"2\r\n{}xx0\r\n\r\n", 400),
    ],
)
def test_a_chunked_body_is_held_to_its_sizes_and_to_the_limit(sandbox, sent, status):
    with dial(sandbox) as connection:
        connection.sendall(head(sandbox, "Transfer-Encoding: chunked") + sent)
        assert connection.recv(65536).startswith(b"HTTP/1.1 %d " % status)
    assert sandbox.counts().requests == 0


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 2", "Content-Length: 3"),
        ("Content-Length: 2", "Transfer-Encoding: chunked"),
        ("Content-Length: -2",),
        ("Content-Length: two",),
        ("Transfer-Encoding: gzip, chunked",),
    ],
)
def test_an_ambiguous_length_is_refused(sandbox, lines):
    with dial(sandbox) as connection:
        connection.sendall(head(sandbox, *lines))
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")
    assert sandbox.counts().requests == 0


def test_a_client_that_asks_whether_to_go_on_is_told_so(sandbox):
    body = json.dumps(request()).encode()
    with dial(sandbox) as connection:
        length = f"Content-Length: {len(body)}"
        connection.sendall(head(sandbox, length, "Expect: 100-continue", "Connection: close"))
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert read_all(connection).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_asks_whether_to_go_on_is_refused_before_it_sends(serve):
    sandbox = serve(key="omx_live_other")
    with dial(sandbox) as connection:
        connection.sendall(head(sandbox, "Content-Length: 1000", "Expect: 100-continue"))
        assert read_all(connection).startswith(b"HTTP/1.1 401 ")
    assert sandbox.counts().requests == 0


def test_a_connection_goes_on_after_answers_and_refusals(sandbox):
    body = json.dumps(request()).encode()
    with dial(sandbox) as connection, connection.makefile("rb") as answers:
        for sent, status in ((body, b"200"), (b"{}", b"400"), (body, b"200")):
            connection.sendall(head(sandbox, f"Content-Length: {len(sent)}") + sent)
            assert answers.readline().split()[1] == status
            length = 0
            while (line := answers.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            answers.read(length)


def test_a_new_contract_is_kept_as_soon_as_it_is_registered():
    contract = Contract(
        model="other-model",
        title="Other",
        summary="",
        fields=(
            Field("model", "choice", True, "", "", choices=("other-model",)),
            Field("picture", "pictures", True, "", ""),
            Field("strength", "number", True, "", "", minimum=Decimal(1), maximum=Decimal(2)),
        ),
        pictures=PictureLimits(1, ("image/webp",), 8, 64, 400, 20_000, "a test"),
    )

    def verdict(size=(20, 20), kind="WEBP", padding=0, **fields):
        file = file_of(drawn(*size), kind)
        body = {"model": "other-model", "picture": [item(file, f"image/{kind.lower()}")], "strength": 1.5} | fields
        return judge(json.dumps(body).encode() + b" " * padding, {"other-model": contract})

    assert isinstance(verdict(), Accepted)
    assert "`strength` must be 1-2" in verdict(strength=3).errors[0]
    assert "has no option `prompt`" in verdict(prompt="x").errors[0]
    assert "accepted: image/webp" in verdict(kind="PNG").errors[0]
    assert "at most 400 accepted (a test)" in verdict(size=(21, 20)).errors[0]
    assert verdict(padding=20_000).status == 413


def test_the_answered_picture_is_a_picture(sandbox):
    assert isinstance(picture_of(ask(sandbox)), Image.Image)
