"""Declarative runner with exact cost governance for a paid image endpoint.

Holds only the version, so that starting the program imports nothing else.
"""

__version__ = "0.1.0"
