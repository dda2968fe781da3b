"""How this process asks the system for memory."""

import ctypes
from contextlib import suppress

_M_ARENA_MAX = -8  # <malloc.h> of glibc
_ARENAS = 2


def share_arenas() -> None:
    """Have all threads take their memory from the same few places, where the C library knows such a thing.

    glibc gives each thread a place of its own, and keeps there what was freed: sixteen workers hold sixteen times what
    a picture needs for a moment. Only one thread runs Python at a time, so hardly any waits for another. To be called
    before the threads are started; it changes what is used for them.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)
