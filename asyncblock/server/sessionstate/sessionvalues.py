"""The values of a session: what its jobs send, who may still ask for it, and what a reference stands for.

Those sent last are in memory, all are in the journal. ``fold`` is this with all else that lines make of a session.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from ...flow.entries import FlowJobOutput, FlowJobStarted
from ...flow.plan import Plan
from ...flow.run import Run
from ..committing.transaction import Transaction
from ..committing.transactions import Transactions
from ..committing.values import Found
from ..jobstate.jobs import Attempt, Job
from ..jobstate.lives import Lives

__all__ = ["RecordPlace", "SessionValues", "values_of"]

RecordPlace: TypeAlias = tuple[int, int, int]
"""Offset of the row, index of the line in it, index of the record in that."""


_ASKED_HANDLES = 1000
"""Handles of a job of which it is remembered whether their values have consumers."""


class SessionValues:
    """Takes note of values, and looks them up, for one session."""

    number: int
    plan: Plan
    inputs: dict[str, Any]
    lives: Lives
    """Which var values may still be asked for."""
    counted: int
    """Outputs without consumers."""
    jobs: dict[str, Job]
    """Jobs that haven't ended."""
    flow_jobs: dict[str, FlowJobStarted]
    """Runs of subflows that haven't ended."""
    _owner: Transactions
    _run: Run

    def _consumed(self, job: Job, handle: str) -> bool:
        """Tell whether a handle of a job has consumers; the flow is asked once."""
        consumed = job.consumed.get(handle)
        if consumed is None:
            consumed = self._run.consumers(job.job_id, handle)
            # A peer may make handles up, one for each output.
            if len(job.consumed) < _ASKED_HANDLES:
                job.consumed[handle] = consumed
        return consumed

    def _queue(
        self,
        transaction: Transaction | None,
        attempt: Attempt,
        records: list[Any],
        place: RecordPlace,
        handle: str,
        size: int,
    ) -> bool:
        """Fold the flat outputs from a place in their line on at once, if that is all that there is to be done.

        Asked before each: it may be the one from which on the queues only grow.
        """
        job, (row, line, first) = attempt.job, place
        ref = ("record", *place, handle)
        if (
            transaction is None
            or job.policy.holds
            or job.recomputes is not None
            or not self._run.queue(job.job_id, handle, ref, len(records) - first, 3, transaction.jobs)
        ):
            return False
        keep, link_id = self._owner.values.keep, attempt.link.link_id
        for index in range(first, len(records)):
            keep((self.number, row, line, index), records[index], link_id, size)
        return True

    def _fold_arguments(self, attempt: Attempt, place: RecordPlace, record: dict[str, Any], size: int) -> None:
        """Large values for a block that the job will ask for."""
        self._owner.values.keep((self.number, *place), record, attempt.link.link_id, size)
        attempt.job.arguments.add(record["id"], place, [*record["values"], *record.get("bodies", ())])
        for handle, value in record["values"].items():
            if self.lives.note(attempt, place, handle, value):
                # Until the order comes that names it.
                self.lives.take_for(record["id"], ("record", *place, handle))

    def _fold_unconsumed(self, attempt: Attempt, place: RecordPlace, handle: str, value: Any) -> None:
        """A value that no node takes: the job may have it that has asked for this one."""
        self.counted += 1
        if type(value) is dict and self.lives.note(attempt, place, handle, value):
            self._keep_for_caller(attempt.job.caller, ("record", *place, handle))

    def _keep_for_caller(self, caller: str | None, ref: Any) -> None:
        """A job may ask, as long as it runs, for what the blocks have put out that it has asked for."""
        if caller is not None and caller in self.jobs:
            self.lives.take_for(caller, ref)

    def _note_late(self, attempt: Attempt, records: list[Any], place: tuple[int, int], skip: set[int]) -> None:
        """Note var values of an attempt that doesn't count any more: they have no consumers, and can go."""
        for index, record in enumerate(records):
            if index not in skip and record["type"] in ("BlockOutput", "BlockOutputs", "BlockFinished"):
                for handle, value in values_of(record):
                    self.lives.note(attempt, (*place, index), handle, value)

    def _fold_flow_output(self, output: FlowJobOutput) -> None:
        started = self.flow_jobs.get(output.job_id)
        if started is not None:
            self._keep_for_caller(started.caller, output.ref)

    def _count_holders(self) -> None:
        self._run.holder = self.lives

    # ------------------------------------------------------------------ what references stand for

    def resolve_now(self, refs: Mapping[str, Any]) -> dict[str, Found] | None:
        """Look values up in memory; None when one of them has to be read."""
        found: dict[str, Found] = {}
        for handle, ref in refs.items():
            value = self._renamed(ref) or self._constant(ref)
            if value is None:
                value = self._owner.values.recall(self._key(ref), ref[4])
            if value is None:
                return None
            found[handle] = value
        return found

    def _renamed(self, ref: Any) -> Found | None:
        """Return what stands for a var value that was made again."""
        value = self.lives.find(ref)
        return None if value is None or value.key is None else Found(value.key)

    async def resolve(self, refs: Mapping[str, Any]) -> dict[str, Found]:
        """Look values up, in the journal where need be."""
        found: dict[str, Found] = {}
        for handle, ref in refs.items():
            found[handle] = (
                self._renamed(ref) or self._constant(ref) or await self._owner.values.load(self._key(ref), ref[4])
            )
        return found

    def _key(self, ref: Any) -> tuple[int, int, int, int]:
        return (self.number, ref[1], ref[2], ref[3])

    def _constant(self, ref: Any) -> Found | None:
        if ref[0] == "record":
            return None
        if ref[0] == "given":
            return Found(ref[1])
        if ref[0] == "input":
            return Found(self.inputs.get(ref[1]))
        return Found(self.plan.static_value(ref))


def values_of(record: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the values that stand in a record of outputs, by handle."""
    if record["type"] == "BlockOutput":
        return [(record.get("handle", ""), record.get("output"))]
    values = record.get("outputs" if record["type"] == "BlockOutputs" else "result")
    return list(values.items()) if isinstance(values, dict) else []
