"""Body: a large input as a file, for blocks that don't want all of it in memory at once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO, ClassVar, Final

from .errors import Closed
from .runtime.offload import READS, wait_in_thread

__all__ = ["Body"]

_BLOCK: Final = 1 << 20
"""Bytes that iterating gives at a time: half a millisecond of reading from the page cache."""


class Body:
    """The bytes of an input, in a file that is there while the job is.

    You get one where the field of a block's inputs is annotated so, instead of ``bytes``:

        class Inputs(TypedDict):
            video: asyncblock.Body

        async def main(inputs: Inputs, ctx):
            async for piece in inputs["video"]:
                ...

    ``def`` blocks use ``open()`` or ``path``, and so does whatever library wants a file. ``read`` and iterating go on
    from one position, whichever task calls. It can be sent on to a handle for bytes as it is, and so can one that is
    made of any file: ``Body(path)``.
    """

    __asyncblock_body__: ClassVar[bool] = True
    __slots__ = ("_gone", "_position", "_reading", "path", "size")

    def __init__(self, path: str | os.PathLike[str], size: int | None = None) -> None:
        self.path = Path(path)
        """The file. It belongs to the job: copy what shall outlive it."""
        self.size = self.path.stat().st_size if size is None else size
        """Bytes in all."""
        self._position = 0
        self._reading = asyncio.Lock()
        self._gone: str | None = None

    def __len__(self) -> int:
        return self.size

    def __bool__(self) -> bool:
        # Without this one an empty file would look like an input that didn't come.
        return True

    def __repr__(self) -> str:
        return f"<Body of {self.size} bytes in {self.path}>"

    async def read(self, n: int = -1) -> bytes:
        """Read up to ``n`` bytes from where the last read ended, or all that is left; ``b""`` at the end.

        **Durability**: nothing is sent. **Cancellation** is safe: the bytes come again.
        Read on a worker thread. Raises ``Closed`` when the job has ended; ``OSError`` as the disk says.
        """
        async with self._reading:
            self._check()
            position = self._position
            data = await wait_in_thread(self._read_at, position, n, places=READS)
            # Unless it was set meanwhile.
            if self._position == position:
                self._position += len(data)
        return data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over what is left, 1 MiB at a time."""
        while data := await self.read(_BLOCK):
            yield data

    def seek(self, position: int) -> None:
        """Let the next ``read`` begin at a position from the beginning."""
        if position < 0:
            raise ValueError(f"a position is 0 or more, not {position}")
        self._position = position

    def open(self) -> BinaryIO:
        """Open the file for reading, as Python's own ``open`` does; close it yourself."""
        self._check()
        return self.path.open("rb")

    def end(self, why: str) -> None:
        """Say that the file is gone. For the executor."""
        self._gone = why

    def _check(self) -> None:
        if self._gone is not None:
            raise Closed(f"the file of this input is gone: {self._gone}; copy in time what shall outlive the job")

    def _read_at(self, position: int, n: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(position)
            return file.read(n)
