"""Reading YAML with the line of everything in it, so that a problem can be shown where it can be mended.

Scalars are those of YAML 1.2, which is JSON's and what the flows' other readers go by: ``no``, ``12:30`` and
``2024-01-01`` are texts. What is too deep, too much or tagged is refused while it is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from ..errors import InvalidFlow, Problem
from .scalars import TooLarge, resolve

__all__ = ["MAX_FILE", "Map", "Seq", "as_read", "dump_yaml", "read_yaml"]

MAX_FILE = 4 << 20
"""Bytes of the largest flow or block file. A flow of 10,000 nodes takes about 3 MiB."""

_MAX_VALUES = 1_000_000
"""Values that a file may stand for after its aliases are followed (the 'billion laughs' of YAML bombs)."""

_MAX_DEPTH = 200
"""Levels of a file: JSON is written to 254 levels, and a plan has some around a flow's values."""

_TOO_DEEP = f"it is nested too deeply (more than {_MAX_DEPTH} levels)"

_NAMES: Final = frozenset({"node_id", "handle", "input_handle", "output_handle", "slot_node_id"})
"""Keys whose values are texts, however they look: a node may be called 1."""

_OPAQUE: Final = frozenset({"value", "json_schema", "ui"})
"""Keys below which nothing is a flow's: values of authors."""

_STANDARD: Final = "tag:yaml.org,2002:"

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The parser in C where PyYAML has it: it reads a large flow ten times as fast."""


class Map(dict[str, Any]):
    """A YAML mapping that knows its lines (1-based)."""

    __slots__ = ("key_lines", "line")

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line
        self.key_lines: dict[str, int] = {}

    def line_of(self, key: str) -> int:
        """Return the line of a key, or of the mapping when it lacks the key."""
        return self.key_lines.get(key, self.line)


class Seq(list[Any]):
    """A YAML sequence that knows its line (1-based)."""

    __slots__ = ("line",)

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line


def as_read(value: Any) -> Any:
    """Return plain values as if they had been read from a file, without lines."""
    if isinstance(value, Mapping):
        made = Map(0)
        made.update((str(key), as_read(each)) for key, each in value.items())
        return made
    return [as_read(each) for each in value] if isinstance(value, (list, tuple)) else value


def dump_yaml(document: Mapping[str, Any]) -> str:
    """Return a document as YAML. Raises ``InvalidFlow`` for a value that YAML can't carry."""
    try:
        text = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    except yaml.representer.RepresenterError as error:
        raise InvalidFlow(f"a constant can't be written as YAML: {error.args[0]}") from error
    return str(text)


class _Dumper(yaml.SafeDumper):
    """Writes no anchors: what stands twice is written twice. A text that some reader takes for a number is quoted."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        tag = super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]  # the stubs leave it out
        if kind is yaml.ScalarNode and implicit[0] and tag == f"{_STANDARD}str" and _looks_otherwise(value):
            return f"{_STANDARD}null"
        return tag


def _looks_otherwise(text: str) -> bool:
    try:
        return not isinstance(resolve(text), str)
    except TooLarge:
        return True


def _refuse(dumper: yaml.SafeDumper, data: object) -> yaml.Node:
    raise yaml.representer.RepresenterError("cannot represent an object", data)


for _kind in (bytes, set):
    # YAML has words for them that no reader of flows knows.
    _Dumper.add_representer(_kind, _refuse)


def read_yaml(path: Path) -> tuple[Map | None, list[Problem]]:
    """Read a file that holds one mapping; return it, or None and what is wrong."""
    try:
        size = path.stat().st_size
        if size > MAX_FILE:
            return None, [Problem(f"the file has {size} bytes; the limit is {MAX_FILE}", str(path))]
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        return None, [Problem(f"the file isn't UTF-8 (byte {error.start})", str(path))]
    except OSError as error:
        return None, [Problem(f"the file can't be read: {error.strerror}", str(path))]
    # Editors let these line separators in; YAML would take them for line ends.
    text = text.replace("\u2028", "").replace("\u2029", "")
    return _parse(text, str(path))


def _parse(text: str, file: str) -> tuple[Map | None, list[Problem]]:
    builder = _Builder(file)
    try:
        loader = _LOADER(text)
        try:
            value = builder.build(loader)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # libyaml has a bound of its own from 0.2.6 on, and reads ahead of the builder.
        words = _TOO_DEEP if "maximum nesting" in str(error.problem) else error.problem
        return None, [Problem(f"not valid YAML: {words}", file, mark.line + 1 if mark else None)]
    except yaml.YAMLError as error:
        words = " ".join(str(error).split())
        return None, [Problem(f"not valid YAML: {words}", file)]
    if builder.problems:
        return None, builder.problems
    if not isinstance(value, Map):
        return None, [Problem("the file must hold a mapping", file, 1)]
    return value, []


@dataclass(slots=True)
class _Open:
    """A mapping or sequence that is being read."""

    made: Map | Seq
    anchor: str | None
    begun: int
    """How many values there were before it."""
    opaque: bool
    names: bool = False
    """Whether its values are texts, however they look."""
    key: str | None = None
    where: int = 0


class _Builder:
    """Makes Python values of a parser's events, without recursion: what comes from outside doesn't hold the stack."""

    def __init__(self, file: str) -> None:
        self.problems: list[Problem] = []
        self._file = file
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int] | None] = {}
        """Values by anchor, with how many values each stands for; None while it is being read."""
        self._count = 0
        self._root: Any = None
        self._documents = 0

    def build(self, loader: Any) -> Any:
        """Return the one document's value, or None without one. Raises ``yaml.YAMLError``."""
        while (event := loader.get_event()) is not None:
            kind = type(event)
            if kind is yaml.ScalarEvent:
                self._scalar(event)
            elif kind is yaml.MappingStartEvent:
                self._begin(event, Map(event.start_mark.line + 1), "map")
            elif kind is yaml.SequenceStartEvent:
                self._begin(event, Seq(event.start_mark.line + 1), "seq")
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                self._end()
            elif kind is yaml.AliasEvent:
                self._alias(event)
            elif kind is yaml.DocumentStartEvent:
                self._documents += 1
                if self._documents > 1:
                    raise _error("a second document begins", event)
        return self._root

    def _scalar(self, event: Any) -> None:
        inside = self._open[-1] if self._open else None
        if inside is not None and isinstance(inside.made, Map) and inside.key is None:
            self._key(inside, inside.made, event)
            return
        is_name = inside is not None and (inside.names or (inside.key in _NAMES and not inside.opaque))
        value = _value(event)
        if is_name and value is not None:
            value = event.value
        self._grow(1, event)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, 1)
        self._put(value)

    def _key(self, inside: _Open, mapping: Map, event: Any) -> None:
        if event.implicit[0] and event.value == "<<":
            raise _error("merge keys ('<<') aren't supported", event)
        if event.anchor is not None:
            self._anchors[event.anchor] = (event.value, 1)
        self._grow(1, event)
        inside.key, inside.where = event.value, event.start_mark.line + 1
        if inside.key in mapping:
            words = f"the key {inside.key!r} stands here and in line {mapping.key_lines[inside.key]}"
            self.problems.append(Problem(words, self._file, inside.where))

    def _begin(self, event: Any, made: Map | Seq, kind: str) -> None:
        if event.tag not in (None, "!", f"{_STANDARD}{kind}"):
            raise _error(f"the tag {event.tag!r} isn't supported", event)
        inside = self._open[-1] if self._open else None
        if inside is not None and isinstance(inside.made, Map) and inside.key is None:
            raise _error("a key must be a text", event)
        if len(self._open) >= _MAX_DEPTH:
            raise _error(_TOO_DEEP, event)
        opaque = inside is not None and (inside.opaque or inside.key in _OPAQUE)
        names = inside is not None and not opaque and inside.key == "dependencies"
        self._grow(1, event)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        self._open.append(_Open(made, event.anchor, self._count - 1, opaque, names))

    def _end(self) -> None:
        ended = self._open.pop()
        if ended.anchor is not None:
            self._anchors[ended.anchor] = (ended.made, self._count - ended.begun)
        self._put(ended.made)

    def _alias(self, event: Any) -> None:
        if event.anchor not in self._anchors:
            raise _error(f"there is no anchor {event.anchor!r} before this alias", event)
        found = self._anchors[event.anchor]
        if found is None:
            raise _error("an alias contains itself", event)
        inside = self._open[-1]
        if isinstance(inside.made, Map) and inside.key is None:
            raise _error("a key must be a text, not an alias", event)
        self._grow(found[1], event)
        self._put(found[0])

    def _put(self, value: Any) -> None:
        if not self._open:
            self._root = value
            return
        inside = self._open[-1]
        if isinstance(inside.made, Seq):
            inside.made.append(value)
            return
        assert inside.key is not None
        inside.made[inside.key] = value
        inside.made.key_lines[inside.key] = inside.where
        inside.key = None

    def _grow(self, by: int, event: Any) -> None:
        self._count += by
        if self._count > _MAX_VALUES:
            raise _error(f"it stands for too many values (more than {_MAX_VALUES})", event)


def _error(words: str, event: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(None, None, words, event.start_mark)


def _value(event: Any) -> Any:
    tag: str | None = event.tag
    if not event.implicit[0] and tag in (None, "!", f"{_STANDARD}str"):
        return event.value
    try:
        value = resolve(event.value)
    except TooLarge as error:
        raise _error(str(error), event) from None
    if event.implicit[0] or tag == f"{_STANDARD}{_KINDS.get(type(value))}":
        return value
    raise _error(f"the tag {tag!r} isn't supported here", event)


_KINDS: Final[Mapping[type[Any], str]] = {type(None): "null", bool: "bool", int: "int", float: "float"}
