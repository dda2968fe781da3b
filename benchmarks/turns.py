"""Clients that buy the same pictures in turn, and the proof after each turn that nothing was lost.

They take turns, and the order changes from round to round, so that a busy machine disturbs all alike. A turn after
which a picture, a request or a micro-unit is missing anywhere ends the benchmark.
"""

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import governed, measured, scenes
from benchmarks.clients import CLIENTS
from benchmarks.endpoint import KEY, PRICE, Running
from benchmarks.measured import median

OMIXA, SCRIPT = "omixa", "plain-session"
PYCURL = measured.CACHE / "pycurl"
_PRICE_MICROS = governed.micros(PRICE)

# Where an answer's number stands in its picture (see endpoint.Pictures), and what the chunk with it adds to the file.
_NUMBER = slice(33 + 8 + len("Comment\0picture "), 33 + 8 + len("Comment\0picture ") + 17)
_CHUNK_BYTES = 45


@dataclass(frozen=True)
class Scene:
    """One amount of work. The goals are ratios against the plain script with a Session; None: nothing was promised."""

    name: str
    title: str
    source_bytes: int
    result_bytes: int
    latency_ms: float
    in_flight: int
    count: int
    rate_goal: float | None = None
    cpu_goal: float | None = None
    rss_goal: float | None = None


@dataclass(frozen=True)
class Round:
    """One client's turn. `sending_s`: from the first request's arrival to the last answer's end."""

    client: str
    wall_s: float
    cpu_s: float
    rss_mib: float
    sending_s: float
    in_flight_max: int
    endpoint_cpu_s: float
    load: float


# Makes the command, and the variables that it needs, from the folder of the bench, the address, and how many in flight.
# The pictures are in `pictures`, and `out` is where they must come to.
Words = Callable[[Path, str, int], tuple[list[str], Mapping[str, str]]]


def governed_words(root: Path, url: str, in_flight: int) -> tuple[list[str], Mapping[str, str]]:
    """The real program, in a project whose ledger is empty."""
    governed.lay_out(root, url=url, in_flight=in_flight, recipes=[("all", "pictures", "out")])
    return governed.run_words(root, "all"), {"BENCH_KEY": KEY}


def client_words(name: str) -> Words:
    """One of benchmarks/clients.py."""

    def words(root: Path, url: str, in_flight: int) -> tuple[list[str], Mapping[str, str]]:
        script = str(Path(__file__).with_name("clients.py"))
        options = {"url": url, "key": KEY, "pictures": root / "pictures", "out": root / "out", "in-flight": in_flight}
        given = [word for option, value in options.items() for word in (f"--{option}", str(value))]
        return [sys.executable, script, name, *given], {"PYTHONPATH": str(PYCURL)} if name == "pycurl" else {}

    return words


WAYS: dict[str, Words] = {OMIXA: governed_words, **{name: client_words(name) for name in CLIENTS}}


class Bench:
    """A folder with pictures, an endpoint for them, and who buys from it in turn."""

    def __init__(self, root: Path, scene: Scene, ways: Mapping[str, Words]) -> None:
        """`root` is made, and filled with what is to be bought."""
        self.root, self.scene, self.ways = root, scene, ways
        self.result = scenes.make(root, scene.count, source_bytes=scene.source_bytes, result_bytes=scene.result_bytes)
        self._served = 0

    def rounds(self, count: int) -> list[Round]:
        """Let every client buy everything so many times."""
        found, names = [], list(self.ways)
        self._served = 0
        with Running(self.result, latency_ms=self.scene.latency_ms) as endpoint:
            for number in range(count):
                shift = number % len(names)
                found += [self.turn(name, endpoint) for name in names[shift:] + names[:shift]]
        return found

    def turn(self, client: str, endpoint: Running) -> Round:
        """One client buys everything, and every picture is accounted for."""
        out, log = self.root / "out", self.root / "log.txt"
        shutil.rmtree(out, ignore_errors=True)
        words, variables = self.ways[client](self.root, endpoint.url, self.scene.in_flight)
        os.sync()  # what the client before has left to be written is not this one's burden
        load = os.getloadavg()[0]
        endpoint.reset()
        used = measured.measure(words, log, **variables)
        counts = endpoint.counts()
        self._check(client, counts, out)
        if client == OMIXA:
            self._check_books(log if "--json" in words else None)
        return Round(
            client=client,
            wall_s=used.wall_s,
            cpu_s=used.cpu_s,
            rss_mib=used.rss_mib,
            sending_s=counts["seconds"],
            in_flight_max=counts["in_flight_max"],
            endpoint_cpu_s=counts["cpu_s"],
            load=load,
        )

    def _check(self, client: str, counts: dict[str, Any], out: Path) -> None:
        """Each picture was asked for once, billed once, answered once, and is on the disk whole."""
        files = list(out.iterdir())
        numbers = {number_of(path) for path in files}
        weight = self.result.stat().st_size + _CHUNK_BYTES
        count = self.scene.count
        compare(
            f"{client} in {self.root}",
            {
                "requests": (counts["requests"], count),
                "requests refused": (counts["refused"], 0),
                "micro-units billed": (counts["billed_micros"], count * _PRICE_MICROS),
                "answers sent": (counts["answered"], count),
                "files": (len(files), count),
                "bytes in files": (sum(path.stat().st_size for path in files), count * weight),
                "pictures of this turn": (
                    len(numbers & set(range(self._served + 1, self._served + count + 1))),
                    count,
                ),
            },
        )
        self._served += count

    def _check_books(self, log: Path | None) -> None:
        """The ledger says what the endpoint says, its chain verifies, and the run is content with each picture.

        `log` has what the run said with `--json`; None: it was not asked to.
        """
        count = self.scene.count
        settled, held = governed.books(self.root)
        found: dict[str, tuple[object, object]] = {
            "micro-units settled": (settled, count * _PRICE_MICROS),
            "micro-units open": (held, 0),
        }
        if log is not None:
            run = governed.run_told(log)
            found["pictures bought"] = run["counts"].get("bought"), count
            found["pictures with a remark"] = sum(1 for picture in run["pictures"] if picture["remark"]), 0
        compare(f"{OMIXA} in {self.root}", found)


def number_of(path: Path) -> int:
    """Which answer a picture came with; 0 when it is none of the endpoint's."""
    with path.open("rb") as file:
        digits = file.read(_NUMBER.stop)[_NUMBER]
    return int(digits) if digits.isdigit() else 0


def compare(who: str, found: Mapping[str, tuple[object, object]]) -> None:
    """What was found, and what it should be. Raises SystemExit with all that differs."""
    wrong = [f"{name}: {got}, should be {wanted}" for name, (got, wanted) in found.items() if got != wanted]
    if wrong:
        raise SystemExit(f"the count is wrong after {who}\n  " + "\n  ".join(wrong))


# ---- what the rounds say


def of(rounds: Sequence[Round], client: str) -> list[Round]:
    """A client's turns, in the order of the rounds."""
    return [one for one in rounds if one.client == client]


def ratio(rounds: Sequence[Round], client: str, against: str, value: Callable[[Round], float]) -> float:
    """The median of the ratios within a round."""
    return median([value(a) / value(b) for a, b in zip(of(rounds, client), of(rounds, against), strict=True)])


def speed(one: Round) -> float:
    """Per second of the whole command, but for a constant: only for ratios."""
    return 1 / one.wall_s


def loads(rounds: Sequence[Round]) -> str:
    """How much the machine had to do beside, at the beginning of the turns."""
    found = [one.load for one in rounds]
    return f"load {min(found):.1f} to {max(found):.1f}"
