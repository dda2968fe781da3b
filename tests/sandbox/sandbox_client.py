"""What the sandbox tests share: pictures drawn on the spot, well-formed requests, and raw sockets."""

import base64
import io
import json
import socket
from typing import Any
from urllib.parse import urlsplit

import requests
from PIL import Image

from runner.sandbox import Sandbox

KEY = "omx_live_xxx"


def drawn(width: int = 64, height: int = 64, mode: str = "RGB") -> Image.Image:
    """A picture with something in it: two crossing gradients."""
    across = Image.linear_gradient("L").rotate(90).resize((width, height))
    down = Image.linear_gradient("L").resize((width, height))
    return Image.merge("RGB", (across, down, Image.new("L", (width, height), 90))).convert(mode)


def file_of(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def item(file: bytes, media_type: str = "image/png") -> dict[str, Any]:
    url = f"data:{media_type};base64,{base64.b64encode(file).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def request(file: bytes | None = None, media_type: str = "image/png", **fields: Any) -> dict[str, Any]:
    """A request that keeps the contract; `fields` are put in, or left out where they are None."""
    whole = {
        "model": "stability-upscale-creative",
        "input_images": [item(file_of(drawn()) if file is None else file, media_type)],
        "prompt": "a picture",
        "output_format": "png",
    }
    return {name: value for name, value in (whole | fields).items() if value is not None}


def ask(sandbox: Sandbox, body: Any = None, **headers: str | None) -> requests.Response:
    """POST one body: a dict as JSON, bytes as they are. `headers` with underscores; None leaves one out."""
    sent: dict[str, str | None] = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    data = body if isinstance(body, bytes) else json.dumps(request() if body is None else body).encode()
    return requests.post(
        f"{sandbox.url}/images/generations",
        data=data,
        headers={name: value for name, value in sent.items() if value is not None},
        allow_redirects=False,
        timeout=60,
    )


def picture_of(answer: requests.Response) -> Image.Image:
    assert answer.status_code == 200, answer.text
    image = Image.open(io.BytesIO(base64.b64decode(answer.json()["data"][0]["b64_json"], validate=True)))
    image.load()
    return image


def head(sandbox: Sandbox, *lines: str, start: str = "POST /api/v1/images/generations HTTP/1.1") -> bytes:
    """The head of a request, with the key and the type in it."""
    standing = (
        f"Host: {urlsplit(sandbox.url).netloc}",
        f"Authorization: Bearer {KEY}",
        "Content-Type: application/json",
    )
    return "\r\n".join((start, *standing, *lines, "", "")).encode()


def dial(sandbox: Sandbox) -> socket.socket:
    return socket.create_connection(("127.0.0.1", sandbox.port), timeout=60)


def read_all(connection: socket.socket) -> bytes:
    """Everything until the other side closes; a reset ends it as well."""
    found = b""
    try:
        while piece := connection.recv(65536):
            found += piece
    except ConnectionResetError:
        pass
    return found
