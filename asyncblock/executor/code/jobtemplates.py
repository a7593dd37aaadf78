"""Job templates: what all jobs of a node have in common, kept once instead of with each job (memory, dispatch).

Every dispatch says everything again, so forgetting a template is never wrong. What the dispatch says decides, not the
node's id: a node may be dispatched anew with an edited block.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ...wire.messages import Dispatch

__all__ = ["JobTemplate", "JobTemplates", "key_of", "slim"]

_REMEMBERED = 1000
"""Nodes whose templates are kept; with more, one is made again now and then."""


@dataclass(frozen=True, slots=True)
class JobTemplate:
    """What the jobs of one node have in common."""

    session_id: str
    node_id: str
    block: dict[str, Any]
    block_path: str | None
    stacks: tuple[Mapping[str, Any], ...]
    inputs_def: Mapping[str, Mapping[str, Any]] | None
    outputs_def: Mapping[str, Mapping[str, Any]] | None
    var_handles: frozenset[str]
    bin_handles: frozenset[str]
    package: str
    metadata: Mapping[str, Any]
    binding_key: tuple[str, ...]
    """What the catalog knows the block's function by."""
    is_cached: bool
    """Results may come from the cache, and are kept there."""

    def fits(self, message: Dispatch) -> bool:
        """Tell whether a dispatch says the same."""
        return (
            self.block == message.block
            and self.block_path == message.block_path
            and [*self.stacks] == message.stacks
            and self.metadata == message.metadata
        )


def slim(message: Dispatch, template: JobTemplate) -> Dispatch:
    """Return a dispatch without copies of what its template has: many may wait for the executor's loop."""
    return Dispatch(
        message.job_id,
        message.attempt,
        message.channel,
        template.session_id,
        template.node_id,
        [],
        template.block,
        message.inputs,
        message.bodies,
        files=message.files,
        carried=message.carried,
    )


class JobTemplates:
    """The templates of the nodes whose jobs came last. On the I/O thread."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], JobTemplate] = OrderedDict()

    def of(self, message: Dispatch) -> JobTemplate:
        """Return the template of a dispatch: the one that is known, if the dispatch says nothing else."""
        key = (message.session_id, message.node_id)
        known = self._known.get(key)
        if known is not None and known.fits(message):
            return known
        made = self._known[key] = _read(message)
        self._known.move_to_end(key)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return made

    def end_session(self, session_id: str) -> None:
        """Let go of a session's nodes."""
        for key in [key for key in self._known if key[0] == session_id]:
            del self._known[key]


def key_of(spec: dict[str, Any], session_id: str) -> tuple[str, ...]:
    """Return what a block's binding is known by."""
    return (
        session_id,
        str(spec.get("hash")),
        str(spec.get("root")),
        str(spec.get("dir")),
        str(spec.get("entry")),
        str(spec.get("function")),
        str(spec.get("context")),
    )


def _read(message: Dispatch) -> JobTemplate:
    outputs = _by_handle(message.block.get("outputs_def"))
    return JobTemplate(
        session_id=message.session_id,
        node_id=message.node_id,
        block=message.block,
        block_path=message.block_path,
        stacks=tuple(level for level in message.stacks if isinstance(level, dict)),
        inputs_def=_by_handle(message.block.get("inputs_def")),
        outputs_def=outputs,
        var_handles=_of_media_type(outputs, "oomol/var"),
        bin_handles=_of_media_type(outputs, "oomol/bin"),
        package=str(message.block.get("package") or "").removeprefix("python:"),
        metadata=MappingProxyType(message.metadata),
        binding_key=key_of(message.block, message.session_id),
        is_cached=isinstance(message.block.get("cache"), dict) and "service" not in message.block,
    )


def _by_handle(defs: object) -> dict[str, Mapping[str, Any]] | None:
    if not isinstance(defs, list):
        return None
    return {str(each["handle"]): each for each in defs if isinstance(each, dict) and "handle" in each}


def _of_media_type(defs: Mapping[str, Mapping[str, Any]] | None, media_type: str) -> frozenset[str]:
    found: set[str] = set()
    for handle, each in (defs or {}).items():
        schema = each.get("json_schema")
        if isinstance(schema, dict) and schema.get("contentMediaType") == media_type:
            found.add(handle)
    return frozenset(found)
