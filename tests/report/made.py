"""Sessions for tests of reports: rows as a journal has them, without a mainframe."""

from __future__ import annotations

from typing import Any

import orjson

from asyncblock.report.recording import RecordedSession

__all__ = ["Made"]


class Made:
    """Rows of a session of one flow, a line of records or an entry at a time."""

    def __init__(self, *nodes: str, title: str = "made", edges: tuple[tuple[str, str], ...] = ()) -> None:
        self.rows: list[tuple[int, list[bytes]]] = []
        self.bodies: dict[int, bytes] = {}
        self.t = 1_000_000
        inputs = {b: {"in": {"sources": [[a, "out"]]}} for a, b in edges}
        block = {"language": "python", "package": "made", "hash": "0" * 64, "entry": "made.py", "function": "main"}
        plan = {
            "version": 1, "title": title, "path": None, "inputs_def": [], "outputs": {},
            "nodes": [{"node_id": each, "kind": "task", "block": block, "inputs": inputs.get(each, {})} for each in nodes],
        }  # fmt: skip
        self.entry("SessionStarted", plan=plan, title=title, path=None)
        for each in nodes:
            self.entry("JobCreated", job_id=f"job-{each}", node_id=each, attempt=1, stacks=[{"node_id": each}])
            self.entry("JobAssigned", job_id=f"job-{each}", node_id=each, attempt=1, link="link-1")
            self.record(each, "JobStarted")

    def entry(self, kind: str, **fields: Any) -> None:
        """Add an entry of the mainframe's."""
        self.t += 5
        self._add({"type": kind, "t": self.t, **fields})

    def record(self, node: str, kind: str, **fields: Any) -> None:
        """Add a record of a node's job."""
        self.records(node, [{"type": kind, **fields}])

    def records(self, node: str, found: list[dict[str, Any]]) -> None:
        """Add several in one row."""
        self.t += 5
        line = {"job_id": f"job-{node}", "node_id": node, "attempt": 1, "link": "link-1"}
        self._add({**line, "records": [{"t": self.t, **each} for each in found]})

    def preview(self, node: str, payload: Any, id: str | None = None) -> None:
        """Add a preview, in a body if it is large."""
        fields: dict[str, Any] = {} if id is None else {"id": id}
        data = orjson.dumps(payload)
        if len(data) <= 64 << 10:
            self.record(node, "BlockPreview", payload=payload, **fields)
            return
        number = len(self.bodies) + 1
        self.bodies[number] = data
        body = {"n": number, "length": len(data), "sha256": "0" * 64, "encoding": "json"}
        self.record(node, "BlockPreview", body=body, about={"type": payload["type"], "size": len(data)}, **fields)

    def end(self, state: str = "succeeded", error: str | None = None, **outputs: Any) -> None:
        """End all jobs and the session."""
        self.entry("SessionFinished", state=state, error=error, outputs=outputs, bodies={})

    def _add(self, line: dict[str, Any]) -> None:
        self.rows.append((len(self.rows), [orjson.dumps(line)]))

    def recording(self, *, interrupted: bool = False) -> RecordedSession:
        """Return what a report is made of."""
        return RecordedSession(
            "made",
            lambda offset: self.rows[offset : offset + 500],
            lambda _, n: self.bodies[n],
            interrupted=interrupted,
        )
