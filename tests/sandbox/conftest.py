from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from runner.sandbox import Sandbox, SandboxOptions, parse_fault, start


@pytest.fixture
def serve() -> Iterator[Callable[..., Sandbox]]:
    """Start a sandbox with fault texts and options; all are stopped after the test."""
    with ExitStack() as stack:

        def begin(*faults: str, **options: Any) -> Sandbox:
            parsed = tuple(parse_fault(text) for text in faults)
            return stack.enter_context(start(SandboxOptions(faults=parsed, **options)))

        yield begin


@pytest.fixture
def sandbox(serve: Callable[..., Sandbox]) -> Sandbox:
    return serve()
