"""Large values as JSON in lines: made piece by piece, and parsed line by line, so that no call holds the GIL for long.

The text is one JSON value. Its line breaks, the only white space in it, stand where each line can be parsed alone (the
protocol's specification has the forms). A piece takes about half a millisecond to make or to parse; between two of
them the thread gives up the GIL.
"""

from __future__ import annotations

import heapq
import json
import re
import time
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, Final

import orjson

from ..errors import UnserializableValue
from ..runtime.collector import promotion
from . import MAX_DEPTH, dumps, explained
from .brought import brought
from .forms import Encoded, NoForm, array_json, form_of, has_fields, is_numeric, key_text, members, rows_as_lists

__all__ = ["dumps_pieces", "loads_blocks", "paced"]

PIECE: Final = 64 << 10
"""Bytes that a line is meant to have, as weighed: weighed, made and parsed in about half a millisecond each."""

_TEXT: Final = 128 << 10
"""Characters of a part of a long text."""

_FLAT: Final = 4096
"""Numbers of an array in a line."""

_COPIED: Final = 256 << 10
"""Bytes of an array that are put in order at once; numpy lets other threads run meanwhile."""

_LONG_LINE: Final = 2 << 20
"""Bytes beyond which a line may be one long text, which is decoded in parts."""

_YIELD: Final = 0.0005
"""Seconds after which a thread gives up the GIL: the loops of this process run at least that often."""


def paced(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Hand pieces on and let other threads run between them."""
    until = time.perf_counter() + _YIELD
    for piece in pieces:
        yield piece
        if time.perf_counter() >= until:
            time.sleep(0)
            until = time.perf_counter() + _YIELD


# ---------------------------------------------------------------------- making


def dumps_pieces(value: object, *, handle: str | None = None) -> Iterator[bytes]:
    """Encode a value in pieces whose concatenation is its JSON in lines; one line when it is small.

    Whoever iterates may give up the GIL between two pieces. Errors as ``dumps``, possibly after some pieces.
    """
    try:
        yield from _Maker(handle).value(value, b"", "", 0)
    except RecursionError as error:
        raise explained(value, handle, error) from None


class _Maker:
    """Encodes one value."""

    def __init__(self, handle: str | None) -> None:
        self._handle = handle

    def value(self, value: object, lead: bytes, path: str, depth: int) -> Iterator[bytes]:
        """Make the lines of a value; ``lead`` stands before the first."""
        if weigh(value, PIECE, MAX_DEPTH - depth) >= 0:
            return iter((lead + self._whole(value, path),))
        return self._large(value, lead, path, depth)

    def _large(self, value: object, lead: bytes, path: str, depth: int) -> Iterator[bytes]:
        # No generator: one frame for each level, so that the deepest value doesn't pass the interpreter's limit.
        if depth >= MAX_DEPTH:
            raise RecursionError("it is nested too deep")
        if type(value) is str:
            return self._text(value, lead, path)
        return self._container(value, lead, path, depth)

    def _container(self, value: object, lead: bytes, path: str, depth: int) -> Iterator[bytes]:
        if _is_flat(value):
            return self._flat(value, lead, path)
        found = members(value)
        if found is not None:
            return self._object(value, found, lead, path, depth)
        items = _items(value)
        if items is not None:
            return self._array(items, lead, path, depth)
        if type(value) is Encoded:
            return iter((lead + value.data,))
        if type(value) is orjson.Fragment:
            return self.value(_read(value, self._handle, path), lead, path, depth + 1)
        try:
            form = form_of(value)
        except Exception:
            # What orjson knows and we don't split, or what nobody knows; or an author's method has failed.
            return iter((lead + self._whole(value, path),))
        return self.value(form, lead, path, depth + 1)

    def _whole(self, value: object, path: str) -> bytes:
        try:
            return dumps(value, handle=self._handle)
        except UnserializableValue as error:
            raise _at(path, error) from None

    def _text(self, text: str, lead: bytes, path: str) -> Iterator[bytes]:
        """Make a line of a long text, in parts."""
        yield lead + b'"'
        for start in range(0, len(text), _TEXT):
            yield self._whole(text[start : start + _TEXT], path)[1:-1]
        yield b'"'

    def _array(self, items: Iterator[Any], lead: bytes, path: str, depth: int) -> Iterator[bytes]:
        opening = first = lead + b"[\n"
        below = MAX_DEPTH - depth - 1
        start, room = 0, PIECE
        batch: list[Any] = []
        for index, item in enumerate(_unchanged(items, self._handle, path)):
            if opening == first:
                # By itself: the whole has been weighed, and what is in it will be.
                yield opening
                opening = b""
            left = weigh(item, room, below)
            if left < 0 and batch:
                yield opening + self._run(batch, path, start)
                opening, start, batch = b"\n,", index, []
                left = weigh(item, PIECE, below)
            if left < 0:
                yield from self._large(item, opening, f"{path}[{index}]", depth + 1)
                opening, start, room = b"\n,", index + 1, PIECE
                continue
            batch.append(item)
            room = left
        if batch:
            yield opening + self._run(batch, path, start)
        yield b"\n]" if opening != first else lead + b"[]"

    def _flat(self, array: Any, lead: bytes, path: str) -> Iterator[bytes]:
        opening = lead + b"[\n"
        step = max(1, _in_line(array) * len(array) // array.size)
        for block in _in_order(array, step):
            for start in range(0, len(block), step):
                rows = block[start : start + step]
                yield opening + (array_json(rows) or self._whole(rows, path))[1:-1]
                opening = b"\n,"
        yield b"\n]"

    def _run(self, batch: list[Any], path: str, start: int) -> bytes:
        try:
            return dumps(batch, handle=self._handle)[1:-1]
        except UnserializableValue as error:
            index, _, rest = error.path[1:].partition("]")
            shifted = f"[{start + int(index)}]{rest}" if index.isdecimal() else error.path
            raise UnserializableValue(error.reason, handle=error.handle, path=(path + shifted).lstrip(".")) from None

    def _object(
        self, value: object, found: Iterator[tuple[Any, Any]], lead: bytes, path: str, depth: int
    ) -> Iterator[bytes]:
        opening = first = lead + b"{\n"
        below = MAX_DEPTH - depth - 1
        batch: dict[str, Any] = {}
        room = PIECE
        written: set[str] = set()
        for given, item in _unchanged(found, self._handle, path):
            key = given if type(given) is str else self._key(given, written, value, path)
            if opening == first:
                yield opening
                opening = b""
            left = weigh(item, room - len(key), below)
            if left < 0 and batch:
                yield opening + self._whole(batch, path)[1:-1]
                opening, batch = b"\n,", {}
                left = weigh(item, PIECE, below)
            if left < 0:
                # A line with one member shows that the key is one.
                name = self._whole({key: None}, path)[1:-5]
                yield from self._large(item, opening + name + b"\n", f"{path}.{key}", depth + 1)
                opening, room = b"\n,", PIECE
                continue
            batch[key] = item
            room = left
        if batch:
            yield opening + self._whole(batch, path)[1:-1]
        yield b"\n}" if opening != first else lead + b"{}"

    def _key(self, key: object, written: set[str], value: Any, path: str) -> str:
        """Return the text of a key that isn't plain text; ``written`` are those of the object so far."""
        try:
            text = key_text(key)
            if not isinstance(key, str) and (text in written or text in value):
                raise NoForm(f"two of its keys have the text {text!r}")
        except NoForm as error:
            raise UnserializableValue(str(error), handle=self._handle, path=path.lstrip(".")) from None
        written.add(text)
        return text


def _unchanged(items: Iterator[Any], handle: str | None, path: str) -> Iterator[Any]:
    try:
        yield from items
    except RuntimeError as error:
        if "changed size" not in str(error) and "mutated" not in str(error):
            raise
        reason = "it was changed while it was being sent; wait for 'await ctx.output(...)' before you change it"
        raise UnserializableValue(reason, handle=handle, path=path.lstrip(".")) from None


def _at(path: str, error: UnserializableValue) -> UnserializableValue:
    separator = "." if path and error.path and not error.path.startswith("[") else ""
    return UnserializableValue(error.reason, handle=error.handle, path=(path + separator + error.path).lstrip("."))


_LONG_NUMBER: Final = re.compile(rb"[0-9]{19}")


def _read(fragment: orjson.Fragment, handle: str | None, path: str) -> Any:
    """Read what an author says is JSON: what isn't would end the link, and lines in it would not be ours."""
    try:
        text = orjson.dumps(fragment)
        if _LONG_NUMBER.search(text):
            json.loads(text, parse_int=_integer)
        return orjson.loads(text)
    except (ValueError, TypeError) as error:
        reason = f"the fragment isn't JSON: {error}"
        raise UnserializableValue(reason, handle=handle, path=path.lstrip(".")) from None


def _integer(digits: str) -> None:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**64:
        raise ValueError(f"the integer {digits:.30} has more than 64 bits; orjson would lose digits")


_CONSTANT: Final = 16

_FEW: Final = 16
"""Items of a list up to which each is looked at; of longer ones all types at once, which is quicker."""

_NUMBERS: Final = frozenset({int, float})
_TEXTS: Final = frozenset({str})


def weigh(value: Any, budget: int, depth: int) -> int:
    """Return what is left of a budget of bytes after a value; negative when it is used up or nested too deep."""
    kind = type(value)
    if kind is str:
        return budget - len(value) - 2
    if kind is int or kind is float or value is None or kind is bool:
        return budget - 8
    if depth <= 0:
        return -1
    if kind is dict:
        budget -= 2
        for key, item in value.items():
            inner = type(item)
            if inner is str:
                budget -= len(key) + len(item) + 6 if type(key) is str else _CONSTANT
            elif inner is int or inner is float:
                budget -= (len(key) if type(key) is str else 0) + 12
            else:
                budget = weigh(item, budget - (len(key) if type(key) is str else 0) - 4, depth - 1)
            if budget < 0:
                return -1
        return budget
    if kind is list or kind is tuple:
        if len(value) * 2 > budget:
            return -1
        if len(value) > _FEW:
            kinds = set(map(type, value))
            if kinds <= _NUMBERS:
                return budget - 9 * len(value) - 2
            if kinds == _TEXTS:
                return budget - sum(map(len, value)) - 3 * len(value) - 2
        for item in value:
            inner = type(item)
            if inner is str:
                budget -= len(item) + 3
            elif inner is int or inner is float:
                budget -= 9
            else:
                budget = weigh(item, budget, depth - 1)
            if budget < 0:
                return -1
        return budget - 2
    return _weigh_other(value, budget, depth)


def _weigh_other(value: Any, budget: int, depth: int) -> int:
    if isinstance(value, (str, bytes)):
        return budget - len(value)
    if type(value) is Encoded:
        return budget - len(value.data)
    if type(value) is orjson.Fragment or (has_fields(value) and members(value) is None):
        return -1
    numpy = brought("numpy", "ndarray")
    if numpy is not None and isinstance(value, numpy.ndarray):
        return budget - _CONSTANT - 24 * int(value.size) if is_numeric(value) else -1
    found = members(value)
    if found is not None:
        for _, item in found:
            budget = weigh(item, budget - _CONSTANT, depth - 1)
            if budget < 0:
                return -1
        return budget
    if isinstance(value, (tuple, list, set, frozenset)):
        for item in value:
            budget = weigh(item, budget - 1, depth - 1)
            if budget < 0:
                return -1
        return budget
    return budget - 4 * _CONSTANT


def _items(value: Any) -> Iterator[Any] | None:
    """Return the items of what is written as an array."""
    if isinstance(value, (list, tuple)):
        return iter(value)
    if isinstance(value, (set, frozenset)):
        return _sorted(value)
    numpy = brought("numpy", "ndarray")
    if numpy is not None and isinstance(value, numpy.ndarray) and value.ndim:
        return iter(value) if is_numeric(value) else rows_as_lists(value)
    return None


def _is_flat(value: Any) -> bool:
    """Tell whether a value is an array of numbers or times of which some rows make a line."""
    numpy = brought("numpy", "ndarray")
    if numpy is None or not isinstance(value, numpy.ndarray) or not value.ndim:
        return False
    return is_numeric(value) and 0 < value.size <= _FLAT * len(value)


def _in_line(array: Any) -> int:
    """Return how many numbers of an array make a line: whole ones take less time than others."""
    return 4 * _FLAT if array.dtype.kind in "biu" else _FLAT


def _in_order(array: Any, step: int) -> Iterator[Any]:
    """Return an array in blocks of some times that many rows, whose numbers are in memory as they are written.

    What lies in another order is copied many rows at once: a row by itself would be read from all over the memory.
    """
    if array.flags.c_contiguous:
        yield array
        return
    several = step * max(1, _COPIED * len(array) // (array.nbytes * step))
    for start in range(0, len(array), several):
        yield array[start : start + several].copy(order="C")


def _sorted(value: set[Any] | frozenset[Any]) -> Iterator[Any]:
    """Sort a large set in runs: one call of sorted() would hold the GIL for all of it."""
    waiting = iter(value)
    try:
        runs = [sorted(run) for run in iter(lambda: list(islice(waiting, 10_000)), [])]
        # All of it before the first is given: two that can't be compared may meet at the end.
        return iter(list(heapq.merge(*runs)))
    except Exception:  # as in forms
        return iter(value)


# ---------------------------------------------------------------------- parsing

_TEXT_PART: Final = re.compile(rb'(?:[^"\\]+|\\[^u]|\\u[0-9a-fA-F]{4})*')


def loads_blocks(blocks: Iterable[bytes]) -> Any:
    """Decode a value from blocks of its JSON, line by line, giving up the GIL between them. On a worker thread.

    JSON that doesn't have the form of lines is parsed in one call.
    Raises ``ValueError`` when it isn't JSON.
    """
    kept: list[bytes] = []
    waiting = iter(blocks)

    def keep() -> Iterator[bytes]:
        for block in waiting:
            kept.append(block)
            yield block

    try:
        return _Assembler().parse(_lines(keep()))
    except _NoLines:
        return orjson.loads(b"".join(chain(kept, waiting)))


class _NoLines(Exception):
    """The text isn't JSON in lines."""


def _lines(blocks: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Split blocks into lines, each in the parts that it came in."""
    parts: list[bytes] = []
    for block in blocks:
        start = 0
        while (end := block.find(b"\n", start)) >= 0:
            parts.append(block[start:end])
            yield parts
            parts, start = [], end + 1
        if start < len(block):
            parts.append(block[start:])
    if parts:
        yield parts


class _Assembler:
    """Puts a value together from its lines."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._key: str | None = None
        self._done: list[Any] = []

    def parse(self, lines: Iterable[list[bytes]]) -> Any:
        promote = promotion()
        until = time.perf_counter() + _YIELD
        for parts in lines:
            self._line(parts)
            if time.perf_counter() >= until:
                promote()
                time.sleep(0)
                until = time.perf_counter() + _YIELD
        if len(self._done) != 1 or self._stack or self._key is not None:
            raise _NoLines
        promote()
        return self._done[0]

    def _line(self, parts: list[bytes]) -> None:
        if sum(map(len, parts)) > _LONG_LINE:
            text = _long_text(parts)
            if text is not None and (self._key is not None or not self._in_object):
                self._put(text)
                return
        line = b"".join(parts).removeprefix(b",")
        if line == b"[" or line == b"{":
            new: Any = [] if line == b"[" else {}
            self._put(new)
            self._stack.append(new)
        elif line == b"]" or line == b"}":
            self._close(list if line == b"]" else dict)
        elif line.endswith(b":") and self._in_object and self._key is None:
            [self._key] = _loads(b"{%bnull}" % line)
        elif self._key is not None or not self._stack:
            self._put(_loads(line))
        elif self._in_object:
            self._stack[-1].update(_loads(b"{%b}" % line))
        else:
            self._stack[-1].extend(_loads(b"[%b]" % line))

    @property
    def _in_object(self) -> bool:
        return bool(self._stack) and type(self._stack[-1]) is dict

    def _close(self, kind: type) -> None:
        if not self._stack or type(self._stack[-1]) is not kind or self._key is not None:
            raise _NoLines
        self._stack.pop()

    def _put(self, value: Any) -> None:
        if not self._stack:
            self._done.append(value)
        elif not self._in_object:
            self._stack[-1].append(value)
        elif self._key is not None:
            self._stack[-1][self._key] = value
            self._key = None
        else:
            raise _NoLines


def _loads(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        raise _NoLines from None


def _long_text(parts: list[bytes]) -> str | None:
    """Decode a line that is one long text, part by part; None when it is something else."""
    texts: list[str] = []
    rest = b""
    for index, part in enumerate(parts):
        if index == 0:
            part = part.removeprefix(b",")
            if part[:1] != b'"':
                return None
            part = part[1:]
        part = rest + part
        for start in range(0, len(part), _TEXT):
            piece = rest + part[start : start + _TEXT] if start else part[:_TEXT]
            found = _TEXT_PART.match(piece)
            assert found is not None
            end = _whole_characters(piece, found.end())
            rest = piece[end:]
            if len(rest) > 8:
                return None
            try:
                texts.append(orjson.loads(b'"%b"' % piece[:end]))
            except orjson.JSONDecodeError:
                return None
        time.sleep(0)
    return "".join(texts) if rest == b'"' else None


def _whole_characters(piece: bytes, end: int) -> int:
    """Return the end of the last character of UTF-8 that is whole."""
    if end < len(piece):
        return end
    for back in range(1, min(4, end) + 1):
        byte = piece[end - back]
        if byte >= 0xC0:
            return end if back >= (2 if byte < 0xE0 else 3 if byte < 0xF0 else 4) else end - back
        if byte < 0x80:
            break
    return end
