"""One file a verb. Each has `arguments(parser)` and `run(options) -> int`; the registry is in runner/cli.py."""
