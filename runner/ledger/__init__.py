"""The ledger: the only code that knows SQL."""

# The migration that makes exactly the tables of tables.py (a test compares it with the newest file in
# migrations/versions).
HEAD = "0008"
