"""Seeded faults in what makes a plan fast: what was seen, how sources are found. `tests.long.mutants` tries them."""

from tests.long.mutant import Mutant

SEEN, FOLDERS = "runner/images/seen.py", "runner/images/folders.py"
REMEMBERED = "tests/images/test_seen.py"
SENT = "tests/run/test_seen.py"

SPEED = (
    Mutant(
        "seen-by-size-and-mtime",
        "a file rewritten with its old moment is looked at",
        SEEN,
        "return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino & _INODE_MASK",
        "return found.st_size, found.st_mtime_ns, 0, 0",
        f"{REMEMBERED} -k whatever",
    ),
    Mutant(
        "seen-by-size-alone",
        "a file rewritten in the same size is looked at",
        SEEN,
        "_as_it_is(path) == row[1:5]",
        "(_as_it_is(path) or (0,))[0] == row[1]",
        f"{REMEMBERED} -k whatever",
    ),
    Mutant(
        "seen-while-young",
        "a file that could change within the same tick is not remembered",
        SEEN,
        "max(before[1:3]) > begun_ns - self._young_ns",
        "max(before[1:3]) > begun_ns",
        f"{REMEMBERED} -k young",
    ),
    Mutant(
        "seen-through-links",
        "a link is not taken for the file that it leads to",
        SEEN,
        "found = os.lstat(path)",
        "found = os.stat(path)",
        f"{REMEMBERED} -k leads_to",
    ),
    Mutant(
        "seen-for-any-recipe",
        "what a recipe asks of pictures is part of what was seen",
        SEEN,
        "told = repr((_VERSION, __version__, PIL.__version__, limits, output_format, flatten, sixteen_bit))",
        "told = repr((_VERSION, __version__, PIL.__version__))",
        f"{REMEMBERED} -k another",
    ),
    Mutant(
        "verify-trusts",
        "--verify reads what was seen before",
        "runner/jobs.py",
        "trust=not verify, keep",
        "trust=True, keep",
        SENT,
    ),
    Mutant(
        "signed-unread",
        "what is going to be signed is read",
        "runner/commands/plan.py",
        "verify=verify or out is not None",
        "verify=verify",
        f"{SENT} -k signed",
    ),
    Mutant(
        "sent-as-remembered",
        "what is sent is digested again, whatever was seen of it",
        "runner/images/sources.py",
        "if digest != picture.digest:",
        'if digest == "":',
        f"{SENT} -k wrong_memory",
    ),
    Mutant(
        "wrong-memory-stays",
        "what a run finds to be remembered wrongly is forgotten",
        "runner/execution.py",
        "if prepared.reason == images.CHANGED:",
        'if prepared.reason == "":',
        f"{SENT} -k forgotten",
    ),
    Mutant(
        "damage-stays",
        "a memory that is damaged is begun anew",
        SEEN,
        "if self._file is not None and self._keep and _is_damage(error):",
        "if self._file is None:",
        f"{REMEMBERED} -k damaged",
    ),
    Mutant(
        "memory-for-everybody",
        "only its owner reads what was seen",
        SEEN,
        "os.O_CLOEXEC | os.O_NOFOLLOW, 0o600",
        "os.O_CLOEXEC | os.O_NOFOLLOW, 0o644",
        f"{REMEMBERED} -k owner",
    ),
    Mutant(
        "memory-through-a-link",
        "nothing is written through a link",
        SEEN,
        "os.O_CLOEXEC | os.O_NOFOLLOW, 0o600",
        "os.O_CLOEXEC, 0o600",
        f"{REMEMBERED} -k done_without",
    ),
    Mutant(
        "found-by-number-alone",
        "an answer for an ending is not taken for a pattern that asks the name",
        FOLDERS,
        "_ENDING_ALONE.fullmatch(glob.texts[at]) is not None or end not in",
        "True or end not in",
        "tests/images/test_folders.py",
    ),
    Mutant(
        "hidden-by-ending",
        "an answer for an ending is not taken for a name with a dot",
        FOLDERS,
        'if self._by_ending is None or name.startswith("."):',
        "if self._by_ending is None:",
        "tests/images/test_folders.py",
    ),
)
