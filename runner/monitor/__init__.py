"""The scheduler's windows to the outside: its status file, health and metrics over HTTP, systemd, and its log."""
