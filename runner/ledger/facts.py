"""What an entry says of an attempt: the columns of its row, with whatever quotes a prompt as a digest. Pure."""

from collections.abc import Mapping
from typing import Any

from runner.ledger.chain import Identity

# A prompt can be purged. What is made of it, or may quote it (an endpoint's answer often does), stands in the chain as
# a digest under the ledger's own key, from which nobody can guess it.
_UNDER_KEY = frozenset({"item_key", "live_key", "prompt_digest", "negative_digest", "message", "headers", "body_head"})


def attempt_facts(identity: Identity, values: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of an attempt's row, or some of them, as they stand in the chain."""
    return {
        name: identity.digest(value) if name in _UNDER_KEY and value is not None else value
        for name, value in values.items()
    }


# What stands in the columns of a prompt that was purged.
PURGED = "purged"


def is_purged(name: str, value: Any) -> bool:
    """Whether a column holds what a purge leaves in it."""
    if name in ("prompt_digest", "negative_digest"):
        return bool(value == PURGED)
    return name in ("message", "headers", "body_head") and value is None
