"""Large values that went ahead of the orders which a job will give: where they stand, by the id of the block's job."""

from __future__ import annotations

from collections.abc import Iterable, KeysView
from typing import Any, Final

from ..serverlimits import MAX_ARGUMENTS

__all__ = ["Arguments"]

Place = tuple[int, int, int]
"""Row, line in it, and record in that."""

_MAX_NAMES: Final = 4 << 20
"""Characters of the handles and ids of all of them: with a peer's own ones a record could have 2 MiB of these."""


class Arguments:
    """The ``BlockArguments`` of one job whose ``run_block`` hasn't come. As few as may be; more are refused."""

    __slots__ = ("_names", "_places")

    def __init__(self) -> None:
        self._places: dict[str, tuple[Place, list[str]]] = {}
        self._names = 0

    def beyond(self, records: list[Any], refused: list[tuple[int, str]]) -> list[tuple[int, str]]:
        """Return which records are refused: those that are already, and what is more than may wait here."""
        bad = {index for index, _ in refused} if refused else ()
        count, names = len(self._places), self._names
        more: list[tuple[int, str]] = []
        for index, record in enumerate(records):
            if index in bad or record["type"] != "BlockArguments":
                continue
            count += 1
            names += _names(record["id"], (*record["values"], *record.get("bodies", ())))
            if count > MAX_ARGUMENTS or names > _MAX_NAMES:
                more.append((index, f"{len(self._places)} BlockArguments wait for their run_block already"))
        return sorted([*refused, *more]) if more else refused

    def add(self, job_id: str, place: Place, handles: list[str]) -> None:
        """Take note of where values for a job stand."""
        self.drop(job_id)
        self._places[job_id] = (place, handles)
        self._names += _names(job_id, handles)

    def get(self, job_id: str) -> tuple[Place, list[str]] | None:
        """Return the place of the values for a job, and their handles."""
        return self._places.get(job_id)

    def drop(self, job_id: str) -> None:
        """Forget them: the order has come."""
        found = self._places.pop(job_id, None)
        if found is not None:
            self._names -= _names(job_id, found[1])

    def clear(self) -> None:
        """Forget all."""
        self._places.clear()
        self._names = 0

    def keys(self) -> KeysView[str]:
        """Return the ids of the jobs."""
        return self._places.keys()

    def to_json(self) -> dict[str, Any]:
        """Return them as JSON-ready data."""
        return dict(self._places)


def _names(job_id: str, handles: Iterable[str]) -> int:
    return len(job_id) + sum(map(len, handles))
