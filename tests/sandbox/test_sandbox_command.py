"""`omixa sandbox` as a user meets it: started, asked, ended."""

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
import requests

OMIXA = [sys.executable, "-m", "runner", "sandbox"]


@contextmanager
def running(*arguments, **environment):
    """A sandbox in a process of its own, and what it printed up to the end of its first example."""
    process = subprocess.Popen(
        [*OMIXA, "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
    try:
        said = ""
        for line in process.stdout:
            said += line
            if line.rstrip().endswith("}'"):
                break
        yield process, said
    finally:
        process.kill()
        process.communicate()


def refused(*arguments, **environment):
    result = subprocess.run(
        [*OMIXA, *arguments], capture_output=True, text=True, timeout=60, env=os.environ | environment
    )
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.returncode, result.stderr


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_what_it_prints_can_be_pasted_and_it_ends_with_its_counts(ending):
    with running("--price", "0.5", "--fault", "status=500,nth=2") as (process, said):
        url = re.search(r"sandbox at (http://127\.0\.0\.1:[0-9]+/api/v1)\n", said)[1]
        assert "not the Stability model" in said
        command = said[said.index("curl -X POST") :]
        assert f"curl -X POST {url}/images/generations" in command
        for billed in ("0.500000", None):
            answer = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout
            assert (f'"billed_amount": "{billed}"' in answer) == bool(billed)
        requests.get(f"{url}/nowhere", timeout=60)
        process.send_signal(ending)
        rest, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert rest.strip() == "2 requests, 1 picture, billed 0.500000, 1 × 404, 1 × 500"
    assert errors == ""


def test_the_key_comes_from_the_environment_and_is_never_printed():
    with running("--key-env", "SANDBOX_KEY", SANDBOX_KEY="omx_live_private") as (process, said):
        assert "omx_live_private" not in said
        assert '"Authorization: Bearer $SANDBOX_KEY"' in said
        url = re.search(r"sandbox at (\S+)", said)[1]
        for key, status in (("omx_live_xxx", 401), ("omx_live_private", 400)):
            headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
            answer = requests.post(f"{url}/images/generations", data=b"{}", headers=headers, timeout=60)
            assert answer.status_code == status
        process.terminate()
        rest, _ = process.communicate(timeout=60)
    assert "omx_live_private" not in rest


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "other machines could reach the sandbox at `0.0.0.0`"),
        (["--host", "example.test"], "add `--expose`"),
        (["--port", "65536"], "`--port` must be 0–65535, found 65536"),
        (["--latency-ms", "-1"], "`--latency-ms` must be 0–"),
        (["--answer-bytes", "0"], "`--answer-bytes` must be 1–"),
        (["--price", "1e3"], 'expected an amount such as "5.00", found "1e3"'),
        (["--fault", "moderatd"], "did you mean `moderated`?"),
        (["--key-env", "SANDBOX_KEY_NOT_SET"], "the environment variable `SANDBOX_KEY_NOT_SET` is not set"),
    ],
)
def test_wrong_arguments_are_explained_in_one_message(arguments, said):
    code, message = refused(*arguments)
    assert code == 2
    assert said in message


def test_an_empty_key_is_refused():
    code, message = refused("--key-env", "SANDBOX_KEY", SANDBOX_KEY="")
    assert code == 2
    assert "holds no usable key" in message


def test_a_port_in_use_is_explained():
    with running() as (_, said):
        port = re.search(r"sandbox at http://127\.0\.0\.1:([0-9]+)", said)[1]
        code, message = refused("--port", port)
    assert code == 2
    assert f"cannot listen on 127.0.0.1 port {port}" in message
    assert "`--port 0`" in message


def test_the_help_is_honest_and_imports_no_picture_library():
    program = """if True:
        import sys
        from runner.cli import main
        try:
            main(["sandbox", "--help"])
        finally:
            assert "PIL" not in sys.modules
    """
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.stderr == ""
    assert "this is not the Stability\nmodel" in result.stdout
    assert "for load tests: enlarge nothing" in " ".join(result.stdout.split())
