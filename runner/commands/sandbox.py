"""`omixa sandbox`: serve the local endpoint until Ctrl-C or SIGTERM."""

import argparse
from pathlib import Path

_HONEST = """\
Requests are held against the same contract as at the paid endpoint, and billed and counted, but no money moves.
In a project, it knows the models of its contract files too.
Pictures are really enlarged, by resampling (Lanczos, back-projection, sharpening): this is not the Stability
model, and every answer says in its header `x-sandbox` what was done. No answer looks like what a paid one would.

faults: comma-separated parts, what happens and to which requests; --fault can be repeated.
  what   status=300..599  retry_after=TEXT  moderated  unpaid  error_in_200  body=html  delay_ms=N  cut_at=N
         close_before_read  close_after_read  bill=AMOUNT  bill_text=TEXT  usage=missing|number
         picture=missing|broken|blurred  billed=yes|no
  which  every=N  first=N  nth=N  rate=0..1; none: always
  e.g.   --fault status=429,retry_after=1,first=3 --fault delay_ms=500,rate=0.1 --fault close_after_read,nth=7
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `omixa sandbox` takes."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _HONEST
    parser.add_argument("--port", type=int, default=8737, help="0: any free one (default: 8737)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--expose", action="store_true", help="allow a --host that other machines can reach")
    parser.add_argument("--price", metavar="AMOUNT", default="0.039", help="billed per picture (default: 0.039)")
    parser.add_argument("--latency-ms", metavar="N", type=int, default=0, help="wait so long before each answer")
    parser.add_argument("--fault", metavar="TEXT", action="append", help="script a fault, see below; repeatable")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="repeats faults with a rate (default: 0)")
    parser.add_argument("--key-env", metavar="NAME", help="accept only the key in this environment variable")
    parser.add_argument(
        "--answer-bytes",
        metavar="N",
        type=int,
        help="for load tests: enlarge nothing, answer with one valid PNG padded to N bytes",
    )
    parser.add_argument("--log", metavar="FILE", type=Path, help="append one JSON line a request")


def run(
    *,
    project: str | None,
    port: int,
    host: str,
    expose: bool,
    price: str,
    latency_ms: int,
    fault: list[str] | None,
    seed: int,
    key_env: str | None,
    answer_bytes: int | None,
    log: Path | None,
    **_: object,
) -> int:
    """Serve until Ctrl-C or SIGTERM, then print the final counts. Both are how it is meant to end: 0."""
    import signal

    from runner import money
    from runner.errors import ExitCode, UsageError
    from runner.project import contracts
    from runner.sandbox import SandboxOptions, parse_fault, start

    _refuse_exposure(host, expose)
    for name, value, low, high in (
        ("--port", port, 0, 65535),
        ("--latency-ms", latency_ms, 0, 3_600_000),
        ("--answer-bytes", 1 if answer_bytes is None else answer_bytes, 1, 200_000_000),
    ):
        if not low <= value <= high:
            raise UsageError(f"`{name}` must be {low}–{high}, found {value}")
    try:
        price_micros = money.declared(price)
    except money.AmountError as error:
        raise UsageError(f"`--price`: {error}", "write it like `--price 0.039`") from error
    options = SandboxOptions(
        host=host,
        port=port,
        price_micros=price_micros,
        latency_ms=latency_ms,
        faults=tuple(parse_fault(text) for text in fault or ()),
        seed=seed,
        key=_key(key_env) if key_env else None,
        answer_bytes=answer_bytes,
        log=log,
        contracts=contracts(project),
    )
    # Blocked before any thread starts and then waited for: a handler could run in the middle of anything.
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        with start(options) as sandbox:
            print(_welcome(sandbox.url, price_micros, key_env), flush=True)
            signal.sigwait(signals)
        counts = sandbox.counts()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
    refused = "".join(f", {count} × {status}" for status, count in sorted(counts.refused.items()))
    from runner.terminal import counted

    sold = f"{counted(counts.requests, 'request')}, {counted(counts.pictures, 'picture')}"
    print(
        f"{sold}, billed {money.exact(counts.billed_micros)}{refused}",
        flush=True,
    )
    return int(ExitCode.OK)


def _refuse_exposure(host: str, expose: bool) -> None:
    import ipaddress

    from runner.errors import UsageError

    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback and not expose:
        raise UsageError(
            f"other machines could reach the sandbox at `{host}`",
            "leave `--host` out, or add `--expose` if that is what you want",
        )


def _key(name: str) -> str:
    import os

    from runner.errors import UsageError

    key = os.environ.get(name, "")
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        found = "is not set" if name not in os.environ else "holds no usable key (printable ASCII without spaces)"
        raise UsageError(f"the environment variable `{name}` {found}", f"set it: export {name}=omx_live_…")
    return key


def _welcome(url: str, price_micros: int, key_env: str | None) -> str:
    """What is said at the start: the address, what it is, and a request that can be pasted as it is."""
    import base64

    from runner import money
    from runner.sandbox.enlarge import padded_png

    picture = base64.b64encode(padded_png(0)).decode()
    counts = url.removesuffix("/api/v1") + "/sandbox/counts"
    key = f"${key_env}" if key_env else "omx_live_xxx"
    return f"""\
sandbox at {url}
each picture is billed {money.exact(price_micros)}, but no money moves; the count: {counts}
it resamples pictures; it is not the Stability model. Stop with Ctrl-C. Try it:

curl -X POST {url}/images/generations \\
  -H "Authorization: Bearer {key}" \\
  -H "Content-Type: application/json" \\
  -d '{{"model": "stability-upscale-creative", "output_format": "png", "prompt": "crisp, realistic detail",
       "input_images": [{{"type": "image_url", "image_url": {{"url": "data:image/png;base64,{picture}"}}}}]}}'
"""
