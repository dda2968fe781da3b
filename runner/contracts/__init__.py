"""The models that the runner knows. To add one: a file beside this one, and its line in the registry."""

from runner.contracts.contract import Contract
from runner.contracts.stability_upscale_creative import CONTRACT as STABILITY_UPSCALE_CREATIVE

CONTRACTS: dict[str, Contract] = {contract.model: contract for contract in (STABILITY_UPSCALE_CREATIVE,)}
