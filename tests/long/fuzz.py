"""Hostile input by the million: mutated good examples into the real code, each of them made again from one number.

    python -m tests.long.fuzz --inputs 1000000                      every target, that many inputs each
    python -m tests.long.fuzz --target amount --inputs 100 --seed 7
    python -m tests.long.fuzz --target amount --replay FILE         one input, as it was written down
    python -m tests.long.fuzz --target toml --atheris               guided by coverage (pip install omixa-runner[fuzz])

An input is a finding when something else than the documented errors leaves, when it takes over a second, or when the
process needs over 512 MB. It is written to a file, with the command that replays it; the command then exits 1.
"""

import argparse
import resource
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

SECONDS_MAX = 1.0
RSS_BYTES_MAX = 512 * 1024 * 1024
STUCK_S = 30


@dataclass
class Tally:
    """What a target has taken so far. `slowest`: seconds, and the number of the input."""

    inputs: int = 0
    seconds: float = 0.0
    slowest: tuple[float, int] = (0.0, -1)
    findings: list[str] = field(default_factory=list)


class Stuck(BaseException):
    """An input takes so long that it is given up."""


def rss_bytes() -> int:
    """The most memory this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def fuzz(name: str, *, inputs: int, seed: int, first: int, folder: Path, findings_max: int = 20) -> Tally:
    """Feed inputs `first` … `first + inputs - 1` of a seed to a target, and write down what is found."""
    from tests.fuzz.mutate import made
    from tests.fuzz.targets import TARGETS

    target, tally, most = TARGETS[name], Tally(), rss_bytes()
    # The seconds of a process that is not waited for: another program on this machine changes nothing.
    clock = time.process_time
    signal.signal(signal.SIGALRM, _stuck)
    for number in range(first, first + inputs):
        data = made(target, seed, number)
        trouble = None
        signal.setitimer(signal.ITIMER_REAL, STUCK_S)
        began = clock()
        try:
            target.run(data)
        except BaseException as error:  # whatever leaves is what is looked for
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            trouble = "".join(traceback.format_exception(error)[-6:])
        took = clock() - began
        signal.setitimer(signal.ITIMER_REAL, 0)
        tally.inputs, tally.seconds = tally.inputs + 1, tally.seconds + took
        if took > tally.slowest[0]:
            tally.slowest = (took, number)
        if trouble is None and took > SECONDS_MAX:
            trouble = f"took {took:.2f} s"
        if (now := rss_bytes()) > max(most, RSS_BYTES_MAX):
            trouble = trouble or f"the process held {now / 2**20:.0f} MB"
            most = now
        if trouble is not None:
            tally.findings.append(_written_down(name, seed, number, data, trouble, folder))
            if len(tally.findings) >= findings_max:
                break
    return tally


def _stuck(_: int, __: FrameType | None) -> None:
    raise Stuck(f"still busy after {STUCK_S} s")


def _written_down(name: str, seed: int, number: int, data: bytes, trouble: str, folder: Path) -> str:
    path = folder / f"{name}-{seed}-{number}.bin"
    path.write_bytes(data)
    told = f"FINDING {name}, seed {seed}, input {number}, {len(data)} bytes\n{trouble}\n"
    told += f"replay: python -m tests.long.fuzz --target {name} --replay {path}\n"
    print(told, flush=True)
    return told


def guided(name: str, *, inputs: int, seed: int) -> None:
    """The same target under atheris; ends the process, as libFuzzer does."""
    import atheris

    with atheris.instrument_imports(include=["runner"]):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    folder = Path(tempfile.mkdtemp(prefix="omixa-corpus-"))
    for number, example in enumerate(target.seeds()):
        (folder / f"{number:04}").write_bytes(example)
    words = folder.with_suffix(".dict")
    words.write_text("".join('"' + "".join(f"\\x{octet:02x}" for octet in word) + '"\n' for word in target.words))
    options = [
        f"-runs={inputs}",
        f"-seed={seed}",
        f"-dict={words}",
        "-max_len=65536",
        "-rss_limit_mb=512",
        "-timeout=5",
    ]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={folder}-", str(folder)], target.run)
    atheris.Fuzz()


def main() -> int:
    """Fuzz, or replay, and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--target", action="append", help="one of them; all without it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the number of the first input")
    parser.add_argument("--replay", type=Path, metavar="FILE")
    parser.add_argument("--atheris", action="store_true", help="guided by coverage, one target")
    parser.add_argument("--findings", type=Path, metavar="DIR", help="where findings are written")
    options = parser.parse_args()
    if options.atheris:
        guided(options.target[0], inputs=options.inputs, seed=options.seed)
        return 0
    from tests.fuzz.targets import TARGETS

    names = options.target or list(TARGETS)
    if options.replay is not None:
        began = time.process_time()
        TARGETS[names[0]].run(options.replay.read_bytes())
        print(f"passed in {time.process_time() - began:.3f} s, the process held {rss_bytes() / 2**20:.0f} MB")
        return 0
    folder = options.findings or Path(tempfile.mkdtemp(prefix="omixa-findings-"))
    folder.mkdir(parents=True, exist_ok=True)
    failed = False
    for name in names:
        tally = fuzz(name, inputs=options.inputs, seed=options.seed, first=options.first, folder=folder)
        slowest, number = tally.slowest
        print(
            f"{name}: {tally.inputs} inputs of seed {options.seed} in {tally.seconds:.1f} s "
            f"({tally.inputs / max(tally.seconds, 1e-9):.0f}/s), slowest {1000 * slowest:.1f} ms (input {number}), "
            f"peak {rss_bytes() / 2**20:.0f} MB, {len(tally.findings)} findings",
            flush=True,
        )
        failed = failed or bool(tally.findings)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
