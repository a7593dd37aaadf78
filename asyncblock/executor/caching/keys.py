"""Keys: what a result depends on, and in words why it isn't that of another time."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

__all__ = ["FILES", "Key", "why_another"]

FILES: Final = " files "
"""In the digest of an input: what follows is of the files that it names."""

_FORM: Final = 1
"""Of the files: those of another form are never asked for."""


@dataclass(frozen=True, slots=True)
class Key:
    """What a result depends on."""

    parts: Mapping[str, Any]
    place: str
    """Says which node of which flow it is, to compare with its last time."""

    @classmethod
    def of(
        cls,
        block: Mapping[str, Any],
        stacks: Sequence[Mapping[str, Any]],
        code: str,
        installed: Mapping[str, str],
        inputs: Mapping[str, str],
        version: str,
    ) -> Key:
        """Make the key of a job."""
        parts = {
            "form": _FORM,
            "block": f"{block.get('package')}/{block.get('entry')}:{block.get('function')}",
            "code": code,
            "python": f"{platform.python_implementation()} {platform.python_version()}",
            "installed": dict(installed),
            "inputs": dict(inputs),
            "handles": _digest([_handles(block.get("inputs_def")), _handles(block.get("outputs_def"))]),
            "version": version,
        }
        nodes = [[level.get("flow"), level.get("node_id")] for level in stacks]
        return cls(parts, _digest([nodes, parts["block"]])[:32])

    def beside(self, carried: Mapping[str, Any]) -> Key:
        """Return the key of a job that finds values in context variables, too: whether it reads them nobody sees."""
        if not carried:
            return self
        values = {name: _digest([value]) for name, value in carried.items()}
        return Key({**self.parts, "carried": values}, self.place)

    @property
    def name(self) -> str:
        """The key as a name for files."""
        return _digest(self.parts)


def _handles(defs: Any) -> Any:
    if not isinstance(defs, list):
        return None
    return [{key: each.get(key) for key in ("handle", "json_schema", "nullable")} for each in defs]


def _digest(value: object) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()


def why_another(parts: Mapping[str, Any], last: Mapping[str, Any] | None) -> str:
    """Say what has changed since the last time of the same node."""
    if last is None:
        return "nothing of this node is kept"
    found = []
    if parts["block"] != last.get("block") or parts["code"] != last.get("code"):
        found.append("its code has changed")
    if parts["version"] != last.get("version"):
        found.append(f"its version is {parts['version']!r}, was {last.get('version')!r}")
    if parts["handles"] != last.get("handles"):
        found.append("its handles have changed")
    if parts["python"] != last.get("python"):
        found.append(f"Python is {parts['python']}, was {last.get('python')}")
    found += _changed("input", parts["inputs"], last.get("inputs"), values=False)
    found += _changed("context variable", parts.get("carried", {}), last.get("carried"), values=False)
    found += _changed("module", parts["installed"], last.get("installed"), values=True)
    return "; ".join(found) or "its result isn't there any more"


def _changed(what: str, now: Mapping[str, str], then: Any, *, values: bool) -> list[str]:
    before = then if isinstance(then, dict) else {}
    found = []
    for name in sorted({*now, *before}):
        if now.get(name) == before.get(name):
            continue
        if name not in before:
            found.append(f"{what} {name!r} is new")
        elif name not in now:
            found.append(f"{what} {name!r} is gone")
        elif values:
            found.append(f"{what} {name!r} is {now[name]}, was {before[name]}")
        elif now[name].partition(FILES)[0] == str(before[name]).partition(FILES)[0]:
            found.append(f"what {what} {name!r} names has changed")
        else:
            found.append(f"{what} {name!r} differs")
    return found
