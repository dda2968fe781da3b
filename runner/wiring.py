"""Puts the parts together for one workspace: the ledger, its folders, and the provider that its endpoint needs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from runner import sandbox
from runner.allocator import return_large, share_arenas
from runner.booking import Means
from runner.jobs import home, results
from runner.ledger import clocks
from runner.ledger.clocks import Uptime
from runner.ledger.database import Database
from runner.ledger.ledger import Ledger
from runner.providers.key import Key, read_key
from runner.providers.omixa import OmixaProvider
from runner.settings import Settings, Workspace
from runner.settings_tables import SANDBOX
from runner.windows import clock
from runner.witness import Witness


@contextmanager
def means(
    settings: Settings,
    workspace: Workspace,
    database: Database,
    *,
    now: Callable[[], datetime] = clock,
    uptime: Callable[[], Uptime | None] = clocks.uptime,
) -> Iterator[Means]:
    """What a run in this workspace works with; the local endpoint, when it is used, lives as long as this is open.

    `now` and `uptime`: where the time comes from, and what it is measured against.

    Raises UsageError when the key is missing or the endpoint must not be used.
    """
    share_arenas()
    return_large()
    with _provider(settings, workspace) as provider:
        witness = Witness(database, settings)
        yield Means(
            Ledger(database, uptime=uptime),
            provider,
            results(settings),
            settings.root,
            home(settings),
            now,
            lambda: witness.write(at=now()),
        )


@contextmanager
def _provider(settings: Settings, workspace: Workspace) -> Iterator[OmixaProvider]:
    endpoint = settings.endpoints[workspace.endpoint]
    if workspace.endpoint == SANDBOX:
        options = sandbox.SandboxOptions(
            price_micros=settings.sandbox.price_micros,
            latency_ms=settings.sandbox.latency_ms,
            contracts=settings.contracts,
        )
        server = sandbox.start(options)
        try:
            yield OmixaProvider(
                url=server.url,
                key=Key("sandbox-needs-no-account"),
                timeout_s=endpoint.timeout_s,
                contracts=settings.contracts,
            )
        finally:
            server.stop()
        return
    assert endpoint.url is not None
    source = workspace.api_key
    key = read_key(env=source.env if source else None, file=source.file if source else None)
    yield OmixaProvider(
        url=endpoint.url,
        key=key,
        timeout_s=endpoint.timeout_s,
        allow_plaintext=endpoint.allow_plaintext,
        contracts=settings.contracts,
    )
