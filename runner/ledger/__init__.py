"""The ledger: the only code that knows SQL."""
