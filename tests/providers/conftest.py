"""What every test of the provider needs: an order, a spool, a key, and a way to send to an endpoint."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from runner.providers.key import Key
from runner.providers.omixa import OmixaProvider
from runner.providers.provider import Order, Outcome
from tests.providers.endpoint import Endpoint, Play

SECRET = "omx_live_4hT-9q_ZsecretZ"


@pytest.fixture
def endpoint() -> Iterator[Callable[..., Endpoint]]:
    started: list[Endpoint] = []

    def start(*plays: Play) -> Endpoint:
        started.append(Endpoint(*plays))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def key() -> Key:
    return Key(SECRET)


@pytest.fixture
def order(tmp_path: Path) -> Order:
    picture = tmp_path / "source.png"
    picture.write_bytes(bytes(range(256)) * 40 + b"x")
    options = {"prompt": "crisp, “real” detail", "output_format": "png", "seed": 7, "creativity": Decimal("0.30")}
    return Order("stability-upscale-creative", options, picture, "image/png")


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    folder = tmp_path / "spool"
    folder.mkdir()
    return folder / "attempt-1"


@pytest.fixture
def send(key: Key, order: Order, spool: Path) -> Callable[..., Outcome]:
    """Sends the order to an endpoint, with the provider's settings as keyword arguments."""

    def send_to(endpoint: Endpoint, **settings: object) -> Outcome:
        provider = OmixaProvider(**{"url": endpoint.url, "key": key, "timeout_s": 20} | settings)  # type: ignore[arg-type]
        return provider.send(order, spool=spool, on_sending=lambda: None)

    return send_to
