"""The ledger's gauges as Prometheus reads them. Needs the extra `metrics`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from runner import __version__
from runner.errors import UsageError
from runner.ledger.database import Database
from runner.ledger.gauges import Account, Gauges, Looks
from runner.money import exact

if TYPE_CHECKING:
    from prometheus_client.core import Metric

_WINDOW = ("workspace", "scope", "recipe", "period", "unit")
_ATTEMPT = ("workspace", "state", "code")
_SLOT = ("workspace", "recipe", "state")

# No label says which month it is, or which run: each new one would be a new series, for ever.
_AMOUNTS: Mapping[str, tuple[str, str]] = {
    "cap_micros": ("omixa_budget_cap_amount", "Cap of the window that is now, with what is granted."),
    "settled_micros": ("omixa_budget_settled_amount", "Billed in the window that is now."),
    "open_micros": ("omixa_budget_open_amount", "Set aside in the window that is now: reserved, sent or unknown."),
    "headroom_micros": ("omixa_budget_headroom_amount", "Left in the window that is now; negative: over its cap."),
}


def renderer(database: Database, accounts: Callable[[], Sequence[Account]] | None = None) -> Callable[[], bytes] | None:
    """What `http.serve` answers a scrape with; None when prometheus-client is not installed.

    `accounts` tells at each scrape which caps are declared now; None: windows are told by the caps that money was
    last reserved under.
    """
    if find_spec("prometheus_client") is None:
        return None
    looks = Looks(database)
    return exposition(lambda: looks.look(datetime.now(UTC), None if accounts is None else accounts()))


def exposition(look: Callable[[], Gauges]) -> Callable[[], bytes]:
    """What makes the answer to a scrape: Prometheus' text format, version 0.0.4, of a new look each time.

    Also what this process uses of the machine. Raises UsageError when prometheus-client is not installed.
    """
    try:
        from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
    except ImportError as error:
        raise UsageError(
            "metrics need the package prometheus-client, which is not installed",
            "pip install 'omixa-runner[metrics]'",
        ) from error
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_Collector(look))
    return lambda: generate_latest(registry)


class _Collector:
    """Gives the registry a new look whenever it is read."""

    def __init__(self, look: Callable[[], Gauges]) -> None:
        self._look = look

    def collect(self) -> "Iterator[Metric]":
        """Every metric, also those that have no series yet."""
        from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily

        gauges = self._look()
        yield InfoMetricFamily("omixa_build", "Which omixa this is.", value={"version": __version__})
        for field, (name, words) in _AMOUNTS.items():
            family = GaugeMetricFamily(name, words, labels=_WINDOW)
            for window in gauges.windows:
                labels = [window.workspace, window.scope, window.recipe, window.period, window.unit]
                family.add_metric(labels, _amount(getattr(window, field)))
            yield family
        billed = {(name, gauges.units[name]): _amount(micros) for name, micros in gauges.billed_micros.items()}
        yield _counter("omixa_billed_amount", "Billed since the ledger began.", ("workspace", "unit"), billed)
        yield _counter("omixa_attempts", "Attempts that have ended.", _ATTEMPT, gauges.attempts_ended)
        yield _gauge("omixa_attempts_open", "Attempts with money set aside.", _ATTEMPT, gauges.attempts_open)
        yield _counter("omixa_slots", "Slots that have ended.", _SLOT, gauges.slots_ended)
        yield _gauge("omixa_slots_open", "Slots that wait or run.", _SLOT, gauges.slots_open)
        yield _gauge("omixa_queue_slots", "Slots that wait for their run.", (), {(): gauges.queue_length})
        ages = {(name,): age_s for name, age_s in gauges.unknown_oldest_s.items()}
        words = "Since the oldest attempt that is unknown now was sent; 0: none is."
        yield _gauge("omixa_unknown_oldest_age_seconds", words, ("workspace",), ages)


def _gauge(name: str, words: str, labels: tuple[str, ...], values: Mapping[Any, float]) -> "Metric":
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(name, words, labels=labels)
    for key in sorted(values):
        family.add_metric(key, values[key])
    return family


def _counter(name: str, words: str, labels: tuple[str, ...], values: Mapping[Any, float]) -> "Metric":
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(name, words, labels=labels)
    for key in sorted(values):
        family.add_metric(key, values[key])
    return family


def _amount(micros: int) -> float:
    """The amount in whole units, as the wire has it; nothing is ever computed with it.

    Prometheus stores floats, and prometheus-client makes one of whatever it gets, Decimal and text too. Made from all
    six decimals, it is the closest there is: below a thousand million units it is written as exactly these decimals.
    """
    return float(exact(micros))
