"""Edits of packages while a command runs. The kernel reports changed files (watchfiles); only edits of code count."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from pathlib import Path

from ..blockcode.packages import watched
from ..errors import Unavailable
from ..runtime.offload import wait_in_thread

__all__ = ["Edits", "need_watchfiles"]

_CHECK = 1000
"""Milliseconds before a first comparison: the kernel doesn't report edits from before it was asked to watch."""


def need_watchfiles(option: str) -> None:
    """Raise ``Unavailable`` if edits can't be seen."""
    try:
        import watchfiles  # noqa: F401
    except ImportError:
        raise Unavailable(f"{option} needs watchfiles: pip install 'asyncblock[reload]'") from None


class Edits:
    """Which package directories were edited: those that have another ``mark`` (a hash of their code) than before."""

    def __init__(self, mark: Callable[[Path], str], roots: Iterable[Path] = ()) -> None:
        self._mark = mark
        self._marks: dict[Path, str | None] = {}
        self.add(roots)

    def add(self, roots: Iterable[Path]) -> None:
        """Watch further packages, as they are now. Reads files."""
        for root in roots:
            if root not in self._marks:
                self._marks[root] = self._look(root)

    def mark_of(self, root: Path) -> str:
        """Return a package's mark, as it was seen last."""
        return self._marks[root] or ""

    async def follow(self) -> AsyncGenerator[list[Path], None]:
        """Yield packages that were edited, as often as they are. **Cancellation** ends it.

        Raises ``Unavailable`` when the kernel can't watch that many directories.
        """
        while True:
            directories = await wait_in_thread(self._directories)
            # A directory came or went: this watch ends before the next one begins.
            async with aclosing(self._changes(directories)) as changes:
                async for edited, still in changes:
                    if edited:
                        yield edited
                    if not still:
                        break

    async def _changes(self, directories: set[Path]) -> AsyncGenerator[tuple[list[Path], bool], None]:
        """Yield which packages have changed, and whether the directories are still those."""
        from watchfiles import awatch

        first = True
        watching = awatch(
            *directories,
            watch_filter=None,
            recursive=False,
            rust_timeout=_CHECK,
            yield_on_timeout=True,
            ignore_permission_denied=True,
        )
        async with aclosing(watching):
            try:
                async for seen in watching:
                    if seen or first:
                        first = False
                        edited = await wait_in_thread(self._edited)
                        yield edited, await wait_in_thread(self._directories) == directories
            except (OSError, RuntimeError) as error:
                raise Unavailable(f"edits can't be followed: {error}") from error

    def _directories(self) -> set[Path]:
        found: set[Path] = set()
        for root in self._marks:
            try:
                found |= watched(root)
            except Unavailable:
                found.add(root)
        return {each for each in found if each.is_dir()} or {Path.cwd()}

    def _edited(self) -> list[Path]:
        found = []
        for root, before in self._marks.items():
            now = self._look(root)
            if now is not None and now != before:
                self._marks[root] = now
                found.append(root)
        return found

    def _look(self, root: Path) -> str | None:
        try:
            return self._mark(root)
        except Unavailable as error:
            print(f"asyncblock: {error}", file=sys.stderr, flush=True)
            return None
