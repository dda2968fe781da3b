"""States of a project as git has them, laid out in a folder to be read. Nothing in them is run or followed.

Only git's plumbing is asked: no checkout, so no hook, filter, textconv or external diff of anybody has a say. Files are
written as their blobs are; what only a checkout would make of them (links, submodules, filtered files) is not made.
"""

import hashlib
import os
import posixpath
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

from runner.errors import DiskError, UsageError

GIT_TIMEOUT_S = 120
ENTRIES_MAX = 1_000_000
COMMITS_MAX = 5_000  # of one range; their caps are compared one by one
# Larger files are laid out as holes of their size: no recipe, prompt or picture that can be sent has so many bytes.
BLOB_BYTES_MAX = 128 * 1024 * 1024
_LINKS_MAX = 5
_LINK_BYTES_MAX = 4096
PICTURES = (".png", ".jpg", ".jpeg", ".webp")

# `main...feature`: what `feature` did since it left `main`; `main..feature`: everything between both.
_RANGE = ("...", "..")


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as git has it: `mode` is such as `100644`, `120000` (a link) or `160000` (a submodule)."""

    mode: str
    oid: str
    size: int

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return self.mode.startswith("100")


# Path relative to the project, posix → what git has there.
Tree = Mapping[str, Entry]


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit: its author's e-mail address as it is written there, its parents, when it was written (ISO 8601, in the
    author's own zone), and its first line.
    """

    oid: str
    author: str
    parents: Sequence[str]
    at: str
    subject: str


@dataclass(frozen=True, slots=True)
class Version:
    """A file as a commit made it. `content` None: the commit removed it. `is_first`: none came before."""

    commit: Commit
    content: bytes | None
    is_first: bool

    @property
    def digest(self) -> str | None:
        """The sha256 of the content, in hex, as the ledger keeps it; None when it was removed."""
        return None if self.content is None else hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True, slots=True)
class Revision:
    """One side of a comparison. `commit` None: the index. `name`: what the user wrote, for messages."""

    name: str
    commit: str | None
    tree: Tree


@dataclass(slots=True)
class Repository:
    """The repository that a project lies in. `prefix`: the project's path in it, posix, empty or ending in `/`.

    Every method raises UsageError when git is missing, fails, or does not answer within GIT_TIMEOUT_S.
    """

    project: Path
    prefix: str = field(init=False)

    def __post_init__(self) -> None:
        self.prefix = os.fsdecode(self._git("rev-parse", "--show-prefix")).removesuffix("\n")

    def commit(self, name: str) -> str:
        """The commit that a name means, in full. Raises UsageError when there is none."""
        if not name or name.startswith("-") or not name.isprintable():
            raise UsageError(f"`{name[:100]}` is no revision", "write such as `main`, `HEAD~1` or `main...HEAD`")
        try:
            told = self._git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        except UsageError:
            raise UsageError(
                f"git knows no commit `{name[:100]}` here",
                "`git fetch` it first, or write two folders; `omixa diff --help` has the forms",
            ) from None
        return told.decode("ascii").strip()

    def merge_base(self, base: str, head: str) -> str:
        """The newest commit that both come from. Raises UsageError when there is none."""
        try:
            return self._git("merge-base", base, head).decode("ascii").split("\n")[0]
        except UsageError:
            raise UsageError(
                "the two have no commit in common here", "a shallow clone needs more: `git fetch --unshallow`"
            ) from None

    def revision(self, name: str, commit: str) -> Revision:
        """The project at a commit."""
        if self.prefix and not self._git("ls-tree", "-d", "-z", "--full-tree", commit, "--", self.prefix.rstrip("/")):
            return Revision(f"{name} ({commit[:12]})", commit, {})  # the project was not there yet
        told = self._git("ls-tree", "-r", "-z", "-l", "--full-tree", f"{commit}:{self.prefix.rstrip('/')}")
        found: dict[str, Entry] = {}
        for line in _lines(told):
            facts, _, path = line.partition("\t")
            mode, _kind, oid, size = facts.split()
            found[path] = Entry(mode, oid, int(size) if size.isdecimal() else 0)
        return Revision(f"{name} ({commit[:12]})", commit, self._linked(_safe(found)))

    def index(self) -> Revision:
        """The project as it would be committed now. Raises UsageError on conflicts."""
        told = self._git("ls-files", "--stage", "-z", own_index=True)
        found: dict[str, Entry] = {}
        for line in _lines(told):
            facts, _, path = line.partition("\t")
            mode, oid, stage = facts.split()
            if stage != "0":
                raise UsageError(f"`{path}` is in conflict", "resolve it and `git add` it first")
            found[path] = Entry(mode, oid, 0)
        sizes = self._sizes([entry.oid for entry in found.values() if entry.is_file])
        sized = {path: Entry(one.mode, one.oid, sizes.get(one.oid, 0)) for path, one in found.items()}
        return Revision("the index", None, self._linked(_safe(sized)))

    def tracked(self) -> Tree:
        """What the index has, without looking whether it is in conflict: which files of the working tree git knows."""
        told = self._git("ls-files", "--stage", "-z", own_index=True)
        found = {}
        for line in _lines(told):
            facts, _, path = line.partition("\t")
            found[path] = Entry(facts.split()[0], facts.split()[1], 0)
        return _safe(found)

    def commits(self, base: str, head: str) -> list[Commit]:
        """Every commit of `head` that `base` does not come from, the oldest first."""
        told = self._git("rev-list", "--reverse", "--topo-order", f"--max-count={COMMITS_MAX + 1}", head, f"^{base}")
        oids = told.decode("ascii").split()
        if len(oids) > COMMITS_MAX:
            raise UsageError(f"there are more than {COMMITS_MAX} commits between both", "compare a shorter range")
        return [_commit(oid, text) for oid, text in self.blobs(oids)]

    def versions(self, path: str) -> list[Version]:
        """Every commit up to HEAD that changed a file of the project, the newest first; of that very name."""
        told = self._git("rev-list", f"--max-count={COMMITS_MAX}", self.commit("HEAD"), "--", path)
        oids = told.decode("ascii").split()
        contents = self.files_at(oids, [path])
        commits = [_commit(oid, text) for oid, text in self.blobs(oids)]
        return [Version(one, contents.get((one.oid, path)), at == len(oids) - 1) for at, one in enumerate(commits)]

    def author(self) -> str | None:
        """The e-mail address that the next commit would be written under; None when git has none."""
        try:
            told = os.fsdecode(self._git("config", "--get", "user.email")).strip()
        except UsageError:
            return None
        return os.environ.get("GIT_AUTHOR_EMAIL", told) or None

    def files_at(self, commits: Iterable[str], paths: Sequence[str]) -> dict[tuple[str, str], bytes]:
        """The bytes of some files of the project at some commits; those that are not there are left out."""
        asked = [(commit, path) for commit in dict.fromkeys(commits) for path in paths]
        names = [f"{commit}:{self.prefix}{path}" for commit, path in asked]
        found = {}
        for pair, answer in zip(asked, self._objects(names), strict=True):
            if answer is not None:
                found[pair] = answer
        return found

    def blobs(self, oids: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """The bytes of objects, in order. Raises UsageError for one that is not here, as in a partial clone."""
        for oid, answer in zip(oids, self._objects(oids), strict=True):
            if answer is None:
                raise UsageError(
                    f"git has no object {oid[:12]} here, and nothing is fetched", "`git fetch` the whole history first"
                )
            yield oid, answer

    def _linked(self, tree: dict[str, Entry]) -> Tree:
        """The tree with what a link between its own files leads to, as the program would read it; others stay links."""
        links = [path for path, entry in tree.items() if entry.mode == "120000" and entry.size <= _LINK_BYTES_MAX]
        targets = dict(
            zip(links, (os.fsdecode(text) for _, text in self.blobs([tree[p].oid for p in links])), strict=True)
        )
        for path in links:
            at, steps = path, 0
            while at in targets and steps < _LINKS_MAX:
                at, steps = posixpath.normpath(posixpath.join(posixpath.dirname(at), targets[at])), steps + 1
            found = tree.get(at)
            # Pictures are never found through a link.
            if found is not None and found.is_file and not path.lower().endswith(PICTURES):
                tree[path] = found
        return tree

    def _sizes(self, oids: Sequence[str]) -> dict[str, int]:
        if not oids:
            return {}
        told = self._git("cat-file", "--batch-check", standard_input="\n".join(oids).encode() + b"\n")
        rows = [line.split() for line in told.decode("ascii").splitlines()]
        return {row[0]: int(row[2]) for row in rows if len(row) == 3}

    def _objects(self, names: Sequence[str]) -> Iterator[bytes | None]:
        """Each object's bytes; None for one that is not here. One process, and one object in memory at a time."""
        if not names:
            return
        with tempfile.TemporaryFile() as asked:
            asked.write("".join(f"{name}\n" for name in names).encode("utf-8", "surrogateescape"))
            asked.seek(0)
            words = [*_command(self.project), "cat-file", "--batch"]
            with subprocess.Popen(
                words, stdin=asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_environment()
            ) as process:
                assert process.stdout is not None
                try:
                    for _ in names:
                        head = process.stdout.readline().split()
                        if len(head) != 3 or not head[2].isdigit():
                            yield None
                            continue
                        yield process.stdout.read(int(head[2]))
                        process.stdout.read(1)
                finally:
                    process.kill()

    def _git(self, *words: str, standard_input: bytes | None = None, own_index: bool = False) -> bytes:
        try:
            done = subprocess.run(
                [*_command(self.project), *words],
                input=standard_input or b"",
                capture_output=True,
                timeout=GIT_TIMEOUT_S,
                env=_environment(own_index=own_index),
                check=False,
            )
        except FileNotFoundError:
            raise UsageError(
                "there is no git here", "install git, or write two folders: `omixa diff OLD NEW`"
            ) from None
        except (OSError, subprocess.SubprocessError) as error:
            raise UsageError(f"git could not be asked: {error}") from None
        if done.returncode != 0:
            told = done.stderr.decode("utf-8", "replace").strip().split("\n")[0][:200]
            hint = "write two folders instead: `omixa diff OLD NEW`" if "not a git repository" in told else None
            if "lazy fetching" in told or "promisor" in told or "transport" in told:
                told = "not all of its objects are here, and nothing is fetched"
                hint = "a partial clone needs the rest: `git fetch --refetch --no-filter`"
            raise UsageError(f"git says: {told or 'no'}", hint)
        return done.stdout


def ends_of(text: str) -> tuple[str, str | None, bool]:
    """What an argument such as `main...HEAD` names: base, head (None: the working tree), and whether the base is where
    both parted."""
    for dots in _RANGE:
        base, found, head = text.partition(dots)
        if found:
            return base or "HEAD", head or "HEAD", dots == "..."
    return text, None, False


# ---- laying files out


class Store:
    """Folders below one, in which files of git are laid out. A blob is written once, however often it is used."""

    def __init__(self, repository: Repository, folder: Path) -> None:
        self._repository = repository
        self._folder = folder
        self._written: dict[str, Path] = {}

    def lay_out(self, files: Mapping[str, Entry], root: Path) -> None:
        """Write these files below `root`, where they are not there yet. Raises DiskError and UsageError."""
        missing: dict[str, list[Path]] = {}
        try:
            for path, entry in files.items():
                target = root / path
                if not target.exists():
                    with suppress(FileExistsError, NotADirectoryError):  # a tree that no checkout could make
                        target.parent.mkdir(parents=True, exist_ok=True)
                        self._put(entry, target, missing)
            for oid, content in self._repository.blobs(list(missing)):
                first, *others = missing[oid]
                first.write_bytes(content)
                self._written[oid] = first
                for other in others:
                    _same(first, other)
        except OSError as error:
            raise DiskError(
                f"`{self._folder}` cannot take what is compared: {error.strerror or error}",
                "free some space, or name another place with TMPDIR",
            ) from None

    def _put(self, entry: Entry, target: Path, missing: dict[str, list[Path]]) -> None:
        if entry.size > BLOB_BYTES_MAX:
            with target.open("xb") as file:
                file.truncate(entry.size)
        elif entry.oid in self._written:
            _same(self._written[entry.oid], target)
        else:
            missing.setdefault(entry.oid, []).append(target)


def above(path: str) -> Iterator[str]:
    """The path itself, and every folder above it."""
    while path:
        yield path
        path = posixpath.dirname(path)


def _same(first: Path, other: Path) -> None:
    if other.exists():
        return
    try:
        os.link(first, other)
    except OSError:
        other.write_bytes(first.read_bytes())


def _safe(found: dict[str, Entry]) -> dict[str, Entry]:
    """Without what no checkout would write: a tree of a hostile hand can hold any name."""
    if len(found) > ENTRIES_MAX:
        raise UsageError(f"the project has more than {ENTRIES_MAX} files in git", "split it into several projects")
    return {path: one for path, one in found.items() if not {"", ".", "..", ".git"} & set(path.lower().split("/"))}


def _lines(told: bytes) -> Iterator[str]:
    return (os.fsdecode(line) for line in told.split(b"\0") if line)


def _commit(oid: str, content: bytes) -> Commit:
    head, _, message = content.partition(b"\n\n")
    header = head.decode("utf-8", "surrogateescape").split("\n")
    author = next((line for line in header if line.startswith("author ")), "")
    address, _, when = author.rpartition("<")[2].partition(">")
    parents = [line.split()[1] for line in header if line.startswith("parent ")]
    return Commit(oid, address, parents, _moment(when.split()), message.decode("utf-8", "replace").split("\n")[0])


def _moment(parts: Sequence[str]) -> str:
    """Git's seconds and zone, such as `1764244800 +0100`; empty where they make no moment."""
    try:
        zone = timezone(timedelta(hours=int(parts[1][:3]), minutes=int(parts[1][0] + parts[1][3:])))
        return datetime.fromtimestamp(int(parts[0]), zone).isoformat()
    except (IndexError, ValueError, OverflowError, OSError):
        return ""


def _command(project: Path) -> Sequence[str]:
    return (
        *("git", "--no-optional-locks", "--literal-pathspecs", "--no-replace-objects", "--no-pager"),
        *("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-C", str(project)),
    )


def _environment(*, own_index: bool = False) -> dict[str, str]:
    """Without what points git elsewhere, as it does inside a hook; and nothing is fetched, asked or written.

    `own_index`: a hook's `GIT_INDEX_FILE` is what will be committed.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM", "GIT_CEILING_DIRECTORIES"):
        if name in os.environ:
            kept[name] = os.environ[name]
    if own_index and "GIT_INDEX_FILE" in os.environ:
        kept["GIT_INDEX_FILE"] = os.path.abspath(os.environ["GIT_INDEX_FILE"])  # noqa: PTH100
    quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "none", "LC_ALL": "C"}
    return kept | quiet
