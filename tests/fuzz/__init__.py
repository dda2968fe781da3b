"""Hostile input: what the program promises of bytes that nobody vouches for."""
