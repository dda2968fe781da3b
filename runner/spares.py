"""Files of a run that are not needed any more, to be written over by what comes next.

A small picture is copied, and its answer kept, in files of a few kilobytes that are gone a moment later. On some file
systems to make a file and to remove it takes longer than everything else that is done with it.
"""

from collections import deque
from contextlib import suppress
from itertools import count
from pathlib import Path


class Spares:
    """Files that may be written over, in a folder that goes with the run. Safe to use from any thread.

    What is in them is of no use to anybody: whoever takes one writes it from its beginning, and cuts off the rest.
    """

    def __init__(self, folder: Path, name: str) -> None:
        """`name`: how the files begin, so that those of different kinds do not meet."""
        self._folder, self._name = folder, name
        self._numbers = count()
        self._files: deque[Path] = deque()

    def keep(self, file: Path) -> None:
        """Take a file away from its place. Never raises: a leftover costs only space."""
        spare = self._folder / f"{self._name}-{next(self._numbers)}"
        try:
            file.replace(spare)
        except OSError:  # it is not there, or the folder is gone
            with suppress(OSError):
                file.unlink()
        else:
            self._files.append(spare)

    def give(self, place: Path) -> bool:
        """Put one at `place`, with what it had in it; False: there is none, and nothing was put there."""
        with suppress(IndexError, OSError):
            self._files.pop().replace(place)
            return True
        return False
