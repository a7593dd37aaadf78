"""Large: a value that is encoded on worker threads, in steps. Between two it waits for room and holds no thread.

Whether it is large turns out on the way: what fits into a record becomes no body.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

from ..link import StreamedBody
from ..values.pieces import paced
from ..wire.bodies import INLINE_LIMIT, Encoding
from .payloads import Prepared, spoken_of, within_limit

__all__ = ["Large"]


class Large:
    """A value on its way into a body, or into a record after all."""

    def __init__(
        self,
        streamed: StreamedBody,
        make: Callable[[], tuple[Iterator[bytes], Encoding]],
        handle: str | None,
        *,
        inline: bool = True,
    ) -> None:
        self.streamed = streamed
        self._inline = inline
        self._make = make
        self._handle = handle
        self._begun = False

    def step(self) -> Prepared | None:
        """Go on encoding; None when there is no room, to be called again when there is. On a worker thread.

        Raises as ``values.dumps`` and ``StreamedBody.make``, ``PayloadTooLarge``. It is to be abandoned then.
        """
        if not self._begun:
            pieces, encoding = self._make()
            pieces = within_limit(paced(pieces), self._handle)
            head: list[bytes] = []
            if encoding == "json" and self._inline:
                size = 0
                for piece in pieces:
                    head.append(piece)
                    size += len(piece)
                    if size > INLINE_LIMIT:
                        break
                else:
                    # A record is a part of a line itself.
                    return Prepared(b"".join(head).replace(b"\n", b""))
            self.streamed.begin(chain(head, pieces), encoding)
            self._begun = True
        return Prepared(None, self.streamed.body) if self.streamed.make(spoken_of(self._handle)) else None
