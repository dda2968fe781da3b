"""Who runs this, and from which git commit: what the ledger writes beside every request."""

import os
import pwd
import re
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

GIT_TIMEOUT_S = 5

# Inside a git hook these point at the hook's repository and index; we ask about the project's.
_OF_ANOTHER_REPOSITORY = frozenset(
    {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE"}
    | {"GIT_PREFIX", "GIT_LITERAL_PATHSPECS", "GIT_GLOB_PATHSPECS", "GIT_NOGLOB_PATHSPECS", "GIT_ICASE_PATHSPECS"}
)


@dataclass(frozen=True, slots=True)
class GitState:
    """The commit checked out, and whether the files asked about differ from it. None: not known, or no repository."""

    commit: str | None
    dirty: bool | None


def who() -> str:
    """The user and the machine, as `user@host`. Never raises.

    The user is the one the system knows, not `$USER`, which anybody can set.
    """
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except (KeyError, OSError):  # a container may run as a number without a name
        user = f"uid{os.getuid()}"
    try:
        host = socket.gethostname()
    except OSError:
        host = ""
    return f"{user}@{host or 'unknown-host'}"


def git_state(root: Path, files: Sequence[Path]) -> GitState:
    """The commit checked out at `root`, and whether any of `files` is modified, untracked or ignored there.

    `files` are absolute, or relative to `root`. Never raises: without git, outside a repository, or after 5 s
    without an answer, both are None. A repository without a commit has none, and every file in it is dirty.
    """
    head = _git(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    commit = None if head is None else head.strip() or None
    # Without a path, git would tell of the whole repository.
    if not files:
        return GitState(commit, None if commit is None else False)
    paths = [os.path.relpath(root / file, root) for file in files]
    changed = _git(root, "status", "--porcelain=v1", "-z", "--untracked-files=all", "--ignored=matching", "--", *paths)
    return GitState(commit, None if changed is None else bool(changed))


@dataclass(frozen=True, slots=True)
class Author:
    """Who wrote a commit, as git has it: `Ana Lima <ana@studio.example>`, when (ISO 8601), and its first line."""

    name: str
    at: str
    subject: str


def author_of(root: Path, commit: str) -> Author | None:
    """Who wrote a commit of the repository at `root`; None when it is not there, or is no full hash. Never raises."""
    if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", commit):
        return None
    told = _git(root, "show", "--no-patch", "--format=%an <%ae>%n%aI%n%s", commit, "--")
    lines = [] if told is None else told.split("\n")
    return Author(*lines[:3]) if len(lines) >= 3 else None


def author_of_file(root: Path, file: Path) -> str | None:
    """Who wrote the last commit of a file, as `Ana Lima <ana@studio.example>`. Never raises.

    None: git does not know the file, or it was changed since: then nobody's name stands for what is in it.
    """
    path = os.path.relpath(root / file, root)
    changed = _git(root, "status", "--porcelain=v1", "-z", "--untracked-files=all", "--ignored=matching", "--", path)
    if changed is None or changed:
        return None
    told = _git(root, "log", "--max-count=1", "--format=%an <%ae>", "HEAD", "--", path)
    return (told or "").strip() or None


def git_user(root: Path) -> str | None:
    """Whom git would name as the author of a commit made here now; None: it would name nobody. Never raises."""
    told = _git(root, "var", "GIT_AUTHOR_IDENT")
    return None if told is None else told.rpartition("> ")[0] + ">"


def _git(root: Path, *words: str) -> str | None:
    """What git prints; None when it fails or there is none. It asks nobody, locks nothing and starts no daemon."""
    environment = {name: value for name, value in os.environ.items() if name not in _OF_ANOTHER_REPOSITORY}
    options = ("--no-optional-locks", "--literal-pathspecs", "-c", "core.fsmonitor=false", "-C", str(root))
    try:
        done = subprocess.run(
            ["git", *options, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GIT_TIMEOUT_S,
            env=environment | {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
            check=False,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None
