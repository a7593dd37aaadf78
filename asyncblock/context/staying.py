"""Values that stay: what a var handle is given is kept in this process, and a key travels in its place."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from itertools import count
from typing import Any, Final

from ..errors import AsyncBlockError
from ..runtime.offload import run_in_thread
from ..shared import Memory, empty_in, hand_over, memory_of
from ..store import EXECUTOR_NAME, Store, StoreKey
from ..values import portable
from ..varvalues.detached import detached, is_quick, size_of
from ..varvalues.filed import Filed, loaded
from ..varvalues.valueid import ValueId
from .dataframes import cache_name, is_dataframe, save
from .jobenvironment import JobEnvironment
from .jobinfo import JobInfo
from .payloads import Prepared

__all__ = ["VAR", "Staying", "movable"]

logger = logging.getLogger("asyncblock.context")

VAR = "oomol/var"


class Staying(JobEnvironment):
    """The part of both faces that keeps var values."""

    _job: JobInfo
    _store: Store
    _let_go: Any

    def __init__(self) -> None:
        self._places = count()
        """The places of the var values of this attempt."""

    def _stays(self, value: object, media_type: str | None) -> bool:
        """Tell whether a value is kept here: JSON carries some as they are."""
        return media_type == VAR and not isinstance(value, (int, float, str, bool))

    def _is_var(self, handle: str) -> str | None:
        return VAR if handle in self._job.var_handles else None

    def _at_the_call(self, value: object, handle: object) -> object:
        """Return what a value is now, where that is known at once: its await may begin later."""
        if type(handle) is not str or handle not in self._job.var_handles or not is_quick(value):
            return value
        return detached(value)

    async def _taken(self, value: object) -> object:
        """Return a value that its author can't change any more; off the loop where that takes long."""
        value = self._store.own(value, self._job.session_id)
        return detached(value) if is_quick(value) else await run_in_thread(detached, value)

    def empty(self, shape: Any, dtype: Any = float, order: str = "C") -> Any:
        """Return an array like ``numpy.empty``, in shared memory: put out, it reaches other processes without a copy.

        It may be the ``out=`` of numpy's functions, and a part of it may be put out. Once it was, its consumers have
        what it was at the call, and each may write into its own; what is written into it here changes for nobody else,
        and put out again it is copied. It is freed when nobody needs it. From an async block large ones are best had by
        ``await asyncio.to_thread(ctx.empty, shape, dtype)``: their memory is reserved at once, 0.1 s for each GB.
        Below 1 MiB, and where memory for files has no room, it is a plain array.
        """
        return empty_in(self._job.depot, shape, dtype, order)

    def _hand_over(self, value: Any, memory: Memory, handle: str) -> StoreKey | None:
        """Keep a shared array without a copy, and return what stands for it; None if it has to be copied after all."""
        job = self._job
        place = next(self._places)
        try:
            handed = hand_over(value, memory, ValueId(job.session_id, job.job_id, job.attempt, place))
        except (OSError, AsyncBlockError, portable.NotPortable) as error:
            logger.debug("a shared array is copied: %s", error)
            return None
        key = StoreKey(EXECUTOR_NAME, handle, job.job_id, job.session_id, job.attempt, place)
        key = replace(key, portable=value.nbytes, file=handed.name)
        self._store.put(key, handed, handed.length)
        return key

    def _shared(self, value: object) -> Memory | None:
        return memory_of(value, self._job.depot)

    def _put(
        self, value: object, handle: str, movable: tuple[int | None, str | None], *, output: bool = True
    ) -> StoreKey:
        """Keep a detached value; each has a key of its own, however often its handle is sent."""
        job = self._job
        key = StoreKey(EXECUTOR_NAME, handle, job.job_id, job.session_id, job.attempt, next(self._places))
        key = replace(key, portable=movable[0], stays=movable[1])
        definition = (job.outputs_def or {}).get(handle, {}) if output else {}
        if definition.get("_serialize_for_cache") and is_dataframe(value):
            key = replace(key, cache=cache_name(self._flow(), self._node(), key, value))
        self._store.put(key, value, size_of(value))
        return key

    async def _movable(self, value: object) -> tuple[int | None, str | None]:
        """Return how many bytes another process would get of a value, or why it can have none."""
        return movable(value) if _is_narrow(value) else await run_in_thread(movable, value)

    def _save(self, key: StoreKey) -> str | None:
        """Keep a DataFrame for later runs; return what to warn of. Writes a file."""
        assert key.cache is not None
        try:
            save(self._job.directories.values_dir(), key.cache, loaded(self._store.look(key)))
        except Exception as problem:  # whatever the author's library raises
            return f"the value of handle {key.handle!r} can't be kept for later runs: {problem}"
        return None

    def _forget(self, keys: Iterable[StoreKey | None]) -> None:
        """Let go of values that weren't sent."""
        for value in self._store.forget(key for key in keys if key is not None):
            if isinstance(value, Filed):
                value.remove()

    @staticmethod
    def _keys_of(prepared: Iterable[Prepared]) -> list[StoreKey]:
        return [each.key for each in prepared if each.key is not None]


def movable(value: object) -> tuple[int | None, str | None]:
    """Return about how many bytes another process would get of a value, or None and why it can have none."""
    try:
        return portable.size_of(value), None
    except portable.NotPortable as error:
        return None, str(error)[:_LONGEST_REASON]


_LONGEST_REASON: Final = 300
"""Characters of a reason: it stands in each reference."""


def _is_narrow(value: object) -> bool:
    """Tell whether a value is looked through quickly."""
    shape = getattr(value, "shape", None)
    try:
        if isinstance(shape, tuple) and len(shape) == 2:
            return bool(shape[1] <= portable.LONGEST)
        return not isinstance(value, (dict, list, tuple)) or len(value) <= portable.LONGEST // 8
    except Exception:  # whatever the author's class raises
        return False
