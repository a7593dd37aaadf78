"""Reading YAML with the line of everything in it, so that a problem can be shown where it can be mended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ..errors import InvalidFlow, Problem

__all__ = ["MAX_FILE", "Map", "Seq", "as_read", "dump_yaml", "read_yaml"]

MAX_FILE = 4 << 20
"""Bytes of the largest flow or block file. A flow of 10,000 nodes takes about 3 MiB."""

_MAX_NODES = 1_000_000
"""Values that a file may stand for after its aliases are followed (the 'billion laughs' of YAML bombs)."""


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
    """Writes no anchors: what stands twice is written twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


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
    loader = _LOADER(text)
    try:
        root = loader.get_single_node()
        builder = _Builder(loader, file)
        value = builder.build(root) if root is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return None, [Problem(f"not valid YAML: {error.problem}", file, mark.line + 1 if mark else None)]
    except yaml.YAMLError as error:
        return None, [Problem(f"not valid YAML: {error}", file)]
    except RecursionError:
        return None, [Problem("not valid YAML: it is nested too deeply", file)]
    finally:
        loader.dispose()
    if builder.problems:
        return None, builder.problems
    if not isinstance(value, Map):
        return None, [Problem("the file must hold a mapping", file, 1)]
    return value, []


class _Builder:
    """Makes Python values of YAML nodes."""

    def __init__(self, loader: Any, file: str) -> None:
        self.problems: list[Problem] = []
        self._loader = loader
        self._file = file
        self._built = 0
        self._path: set[int] = set()

    def build(self, node: yaml.Node) -> Any:
        self._built += 1
        line = node.start_mark.line + 1
        if self._built > _MAX_NODES:
            raise yaml.MarkedYAMLError(None, None, "its aliases stand for too many values", node.start_mark)
        if id(node) in self._path:
            raise yaml.MarkedYAMLError(None, None, "an alias contains itself", node.start_mark)
        if isinstance(node, yaml.ScalarNode):
            return self._loader.construct_object(node)
        self._path.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                seq = Seq(line)
                seq.extend(self.build(child) for child in node.value)
                return seq
            assert isinstance(node, yaml.MappingNode)
            return self._mapping(node, line)
        finally:
            self._path.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, line: int) -> Map:
        mapping = Map(line)
        for key, value in self._pairs(node):
            name = str(self.build(key))
            where = key.start_mark.line + 1
            if name in mapping:
                first = mapping.key_lines[name]
                self.problems.append(Problem(f"the key {name!r} stands here and in line {first}", self._file, where))
            mapping[name] = self.build(value)
            mapping.key_lines[name] = where
        return mapping

    def _pairs(self, node: yaml.MappingNode) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        for key, value in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                raise yaml.MarkedYAMLError(None, None, "merge keys ('<<') aren't supported", key.start_mark)
            yield key, value
