"""How this process asks the system for memory."""

import ctypes
from contextlib import suppress

# <malloc.h> of glibc
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_ARENAS = 2
# What is larger goes back at once. Blocks of answers and pictures are smaller, and come and go too often for that.
_LARGE_BYTES = 1024 * 1024
# So much may be free at the end: with a quarter of it, a picture of 12 MB takes a tenth more CPU for asking again.
_FREE_BYTES = 8 * 1024 * 1024


def share_arenas() -> None:
    """Have all threads take their memory from the same few places, where the C library knows such a thing.

    glibc gives each thread a place of its own, and keeps there what was freed: sixteen workers hold sixteen times what
    a picture needs for a moment. Only one thread runs Python at a time, so hardly any waits for another. To be called
    before the threads are started; it changes what is used for them.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)


def return_large() -> None:
    """Have large pieces of memory go back to the system when they are freed, where the C library knows such a thing.

    glibc begins like this, and then takes what was large once for usual: when a large piece is freed, pieces up to its
    size, 32 MiB at most, are put among the small ones from then on. Tables that are made anew now and then, as Python's
    table of interned texts is by the names of every thousand pictures, then leave holes that soon are too small for
    the next. It changes what is used from now on.
    """
    with suppress(AttributeError, OSError, TypeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, _FREE_BYTES)
