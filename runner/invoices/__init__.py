"""The provider's usage or invoice file: read line by line, and matched with the ledger's attempts."""
