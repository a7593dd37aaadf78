"""Giving a kept result again: the same outputs and previews, sent as if the block had said them."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any, BinaryIO

import orjson

from ...block import Binding
from ...context import Context, preview_again
from ...runtime.offload import run_in_thread
from ...values.pieces import loads_blocks
from .results import Frame, read_frames

__all__ = ["CachedResult"]


class CachedResult:
    """A result that was found, open, whole, and known to be readable here."""

    def __init__(self, file: BinaryIO) -> None:
        """Read a result's var values: whether they can be had decides whether it is one. Takes long.

        Raises whatever unpickling raises.
        """
        self._file = file
        self._vars: list[Any] = []
        self.named: Mapping[str, str] = {}
        """The files that its outputs name, with their digests."""
        self.at = 0
        """When it was kept, in ms since the epoch."""
        for frame in read_frames(file):
            if "at" in frame.head:
                self.named, self.at = frame.head["named"], frame.head["at"]
            kinds = frame.head.get("values", ())
            for (_, kind), part in zip(kinds, frame.parts, strict=False):
                if kind == "var":
                    self._vars.append(pickle.loads(part))
        file.seek(0)
        self._vars.reverse()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def binding(self) -> Binding:
        """Return the block that gives it again."""
        return Binding(self._main, True, ("inputs", "ctx"), {})

    async def _main(self, inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any] | None:
        try:
            frames = read_frames(self._file)
            result = None
            while (frame := await run_in_thread(next, frames, None)) is not None:
                if "preview" in frame.head:
                    made = await run_in_thread(orjson.loads, frame.parts[0])
                    said = frame.head.get("pages")
                    await preview_again(ctx, made, frame.head["preview"], said, frame.parts[-1])
                elif "record" in frame.head:
                    values = await run_in_thread(self._values, frame)
                    if frame.head["record"] == "BlockOutput":
                        [(handle, value)] = values.items()
                        targets = {key: frame.head.get(key) for key in ("to_node", "to_flow")}
                        await ctx.output(value, handle, **targets)
                    elif frame.head["record"] == "BlockOutputs":
                        await ctx.outputs(values)
                    else:
                        result = values
            return result
        finally:
            self.close()

    def _values(self, frame: Frame) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for (handle, kind), part in zip(frame.head["values"], frame.parts, strict=True):
            values[handle] = part if kind == "raw" else self._vars.pop() if kind == "var" else loads_blocks([part])
        return values
