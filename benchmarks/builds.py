"""Builds of asyncblock to measure with: each in a virtual environment of its own, kept in the user's cache directory.

A build is named by what goes into it (the package's files, the extras, the interpreter, and for the working tree's the
versions of the other's libraries), so that commits with the same package share one. Those used last are kept.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson

from .report import say

__all__ = ["ROOT", "Build", "BuildError", "built", "cache_directory", "commit_of", "fingerprint", "source"]

ROOT = Path(__file__).resolve().parent.parent
"""The repository that this file is in."""

_KEPT = 8
"""Builds that stay: a few commits and working trees, at 50 to 400 MB each."""

_DONE = "build.json"
"""Written last: a directory without it is what an interrupted build has left."""

_LIST = (
    "import importlib.metadata as m, json;"
    "print(json.dumps({d.metadata['Name'].lower(): d.version for d in m.distributions()}))"
)


class BuildError(Exception):
    """There is nothing to compare with; the message says what was tried and what to do."""


@dataclass(frozen=True, slots=True)
class Build:
    """A virtual environment with one build of asyncblock, and the versions of everything in it."""

    python: Path
    versions: Mapping[str, str]


def cache_directory() -> Path:
    """Return where builds are kept."""
    if given := os.environ.get("XDG_CACHE_HOME"):
        home = Path(given)
    else:
        home = Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")
    return home / "asyncblock" / "benchmarks"


def commit_of(ref: str, repository: Path = ROOT) -> str:
    """Return the commit that a ref names. Raises ``BuildError`` where there is none."""
    try:
        return _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}").strip()
    except BuildError:
        raise BuildError(f"{ref!r} names no commit of the repository at {repository}") from None


@contextmanager
def source(commit: str | None, repository: Path = ROOT) -> Iterator[Path]:
    """Lay out the files of a commit, or those of the working tree (without ignored ones), for the block's duration."""
    with TemporaryDirectory(prefix="bench-source-") as directory:
        place = Path(directory)
        if commit is None:
            listed = _git(repository, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
            for name in filter(None, listed.split("\0")):
                if (path := repository / name).is_file():
                    (place / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, place / name)
        else:
            archive = place / "archive.zip"
            _git(repository, "archive", "--format=zip", f"--output={archive}", commit)
            shutil.unpack_archive(archive, place)
            archive.unlink()
        yield place


def fingerprint(place: Path) -> str:
    """Return a name for what a package is built from. Tests, benchmarks, prose and the version aren't part of it."""
    found = hashlib.sha256()
    others = ("tests", "benchmarks", "changelog.d", ".git_archival.txt")
    for path in sorted(place.rglob("*")):
        name = path.relative_to(place)
        if path.is_file() and name.parts[0] not in others and not name.parts[0].endswith(".md"):
            content = path.read_bytes()
            found.update(f"{name.as_posix()}\0{len(content)}\0".encode() + content)
    return found.hexdigest()


@contextmanager
def built(
    what: str,
    place: Path,
    extras: Sequence[str],
    like: Mapping[str, str] | None = None,
    also: Sequence[str] = (),
) -> Iterator[Build]:
    """Build what lies at a place unless it has been, and keep it from being removed for the duration of the block.

    With ``like`` other libraries get these versions where its requirements allow it. ``also`` are requirements of what
    is measured, which asyncblock doesn't have.
    """
    inputs = (
        fingerprint(place),
        sorted(extras),
        sorted(also),
        sys.version,
        sys.base_prefix,
        sorted((like or {}).items()),
    )
    home = cache_directory() / hashlib.sha256(orjson.dumps(inputs)).hexdigest()[:20]
    with _locked(home) as lock:
        if not (home / _DONE).exists():
            say(f"building {what} in {home} (once)")
            try:
                _build(home, place, extras, like, also)
            except BaseException as error:
                shutil.rmtree(home, ignore_errors=True)
                if isinstance(error, BuildError):
                    raise BuildError(f"{what} can't be built: {error}") from error
                raise
        (home / _DONE).touch()
        # From here on others may use it, too.
        fcntl.flock(lock, fcntl.LOCK_SH)
        _prune(home.parent)
        yield Build(_python(home), orjson.loads((home / _DONE).read_bytes()))


def _build(home: Path, place: Path, extras: Sequence[str], like: Mapping[str, str] | None, also: Sequence[str]) -> None:
    for left in home.iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    own_pip = importlib.util.find_spec("pip") is not None
    # Without pip in it an environment is made in a tenth of the time.
    venv.EnvBuilder(symlinks=True, with_pip=not own_pip).create(home / "venv")
    python = _python(home)
    pip = [sys.executable, "-m", "pip", "--python", str(python)] if own_pip else [str(python), "-m", "pip"]
    install = [*pip, "install", "--quiet", "--disable-pip-version-check", f"{place}[{','.join(extras)}]", *also]
    versions = home / "versions.txt"
    versions.write_text("".join(f"{name}=={number}\n" for name, number in (like or {}).items() if name != "asyncblock"))
    done = _run([*install, "--constraint", str(versions)])
    if done.returncode != 0 and like:
        say("  its requirements don't allow the other's versions of libraries: it gets its own")
        done = _run(install)
    if done.returncode != 0:
        raise BuildError(f"pip couldn't install it: {_last_words(done.stderr or done.stdout)}")
    listed = _run([str(python), "-c", _LIST])
    if listed.returncode != 0:
        raise BuildError(f"its interpreter doesn't run: {_last_words(listed.stderr)}")
    (home / _DONE).write_text(listed.stdout)


def _python(home: Path) -> Path:
    return home / "venv" / "bin" / "python"


def _prune(directory: Path) -> None:
    """Remove the builds that were used longest ago, but none that is in use."""
    builds = [each for each in directory.iterdir() if (each / _DONE).exists()]
    for old in sorted(builds, key=lambda each: (each / _DONE).stat().st_mtime, reverse=True)[_KEPT:]:
        with suppress(OSError):
            lock = os.open(old, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(old)
            finally:
                os.close(lock)


@contextmanager
def _locked(home: Path) -> Iterator[int]:
    """Hold a directory, made if need be, for this process alone. The lock ends with the process, however that ends."""
    while True:
        home.mkdir(parents=True, exist_ok=True)
        lock = os.open(home, os.O_RDONLY)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if (home / _DONE).exists():
                    # Others measure with it; nobody has to build it.
                    fcntl.flock(lock, fcntl.LOCK_SH)
                else:
                    say(f"waiting for another run that builds in {home}")
                    fcntl.flock(lock, fcntl.LOCK_EX)
            # It may have been removed before the lock was ours.
            if _same(lock, home):
                yield lock
                return
        finally:
            os.close(lock)


def _same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _git(repository: Path, *arguments: str) -> str:
    try:
        done = _run(["git", "-C", str(repository), *arguments])
    except FileNotFoundError:
        raise BuildError("git isn't installed: other commits can't be read") from None
    if done.returncode != 0:
        raise BuildError(f"git {arguments[0]} failed: {_last_words(done.stderr)}")
    return done.stdout


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment)


def _last_words(text: str) -> str:
    lines = text.strip().splitlines()
    return " | ".join(lines[-3:]) if lines else "it ended without a word"
