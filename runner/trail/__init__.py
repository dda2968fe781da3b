"""The audit trail: what an entry is in bytes, the tree over them, and the signed checkpoints that fix it in time."""
