"""The part of a session's state that tells of its work: nodes, jobs, their attempts, and what let which begin."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from .. import events
from .jobviews import ENDED, AttemptView, JobView, NodeView
from .shown import Failure, StateLimits

__all__ = ["Work"]


class Work:
    """Nodes and jobs. ``State`` says what each event does to them."""

    def __init__(self, limits: StateLimits, feeds: Mapping[str, Collection[str]]) -> None:
        self._limits = limits
        self._feeds = feeds
        """For the path of each node: the paths of those that feed it (``views.feeds_of``)."""
        self.offset = -1
        """The last row of which there were events."""
        self.within = 0
        """How many of that row were taken."""
        self.nodes: dict[str, NodeView] = {}
        self.jobs: dict[str, JobView] = {}
        """The open ones, and of those that have ended as many as the limit says."""
        self.failures: list[Failure] = []
        self.failures_count = 0
        self.forgotten = 0
        """Jobs that have ended and aren't kept."""
        self.last_put: str | None = None
        """The job that was the last to put something out, or to end."""

    def node(self, path: str) -> NodeView:
        """Return a node, which begins to be known with that."""
        found = self.nodes.get(path)
        if found is None:
            found = self.nodes[path] = NodeView(path)
        return found

    def create(self, event: events.BlockEvent, stacks: tuple[dict[str, Any], ...], kind: str) -> JobView:
        """Begin to know a job; one that is known stays as it is."""
        if (there := self.jobs.get(event.job_id)) is not None:
            return there
        path = self.path_of(stacks, event.node_id)
        node = self.node(path)
        node.jobs += 1
        if kind == "flow":
            node.kind = kind
        if node.first is None:
            node.first = event.t
        job = self.jobs[event.job_id] = JobView(event.job_id, path, kind, event.t, cause=self.cause_of(path))
        if kind == "block":
            job.attempts.append(AttemptView(event.attempt, event.t))
        node.open["queued"] = node.open.get("queued", 0) + 1
        node.rates[job.job_id] = 0.0
        return job

    def path_of(self, stacks: tuple[dict[str, Any], ...], node_id: str) -> str:
        """Return the path of a job's node: the way to it through subflows."""
        names = [str(frame.get("node_id")) for frame in stacks] or [node_id]
        return "/".join(names)

    def cause_of(self, path: str) -> str | None:
        """Return the job that came last with a value or its end, of those that the node may have waited for."""
        feeds = self._feeds.get(path)
        if feeds is None:
            return self.last_put
        feeding = [node for each in (*feeds, path) if (node := self.nodes.get(each)) and node.put]
        return max(feeding, key=lambda each: each.put).putter if feeding else None

    def known(self, event: events.BlockEvent) -> JobView:
        """Return an event's job, one of which the beginning wasn't seen, too."""
        job = self.jobs.get(event.job_id)
        if job is None:
            job = self.create(event, (), "block")
        return job

    def attempt(self, job: JobView, event: events.BlockEvent) -> AttemptView:
        """Return the attempt that an event is of."""
        if job.attempts and job.attempts[-1].number >= event.attempt:
            return job.attempts[-1]
        queued = job.due if job.due is not None and job.due <= event.t else event.t
        attempt = AttemptView(event.attempt, queued)
        job.attempts.append(attempt)
        return attempt

    def fail(self, job: JobView, event: events.BlockEvent, error: str, traceback: str | None) -> None:
        """An attempt has failed; whether another one follows is told later."""
        self.failures_count += 1
        self.failures.append(Failure(event.t, job.node, job.job_id, event.attempt, error, traceback))
        if self._limits.failures is not None and len(self.failures) > self._limits.failures:
            # The first ones say how it began, the last ones what ended it.
            del self.failures[self._limits.failures // 2]
        job.error = error
        self.end(job, "failed", event.t, error, attempt=event.attempt)
        self.put(job)

    def move(self, job: JobView, state: str) -> None:
        """Change a job's state, and its node's counts with it."""
        if job.state == state:
            return
        node = self.node(job.node)
        before = node.ended if job.state in ENDED else node.open
        left = before.get(job.state, 0) - 1
        if left > 0:
            before[job.state] = left
        else:
            before.pop(job.state, None)
        if job.state in ENDED and state not in ENDED:
            # An attempt that failed, and the next one follows: its times will be counted at the job's end.
            self.unspend(job, node)
            job.ended = None
            node.rates[job.job_id] = job.progress
        after = node.ended if state in ENDED else node.open
        after[state] = after.get(state, 0) + 1
        job.state = state

    def end(self, job: JobView, state: str, t: int, error: str | None = None, *, attempt: int | None = None) -> None:
        """End a job, or the attempt that is its last one."""
        if job.attempts:
            last = job.attempts[-1]
            if attempt is not None and attempt < last.number:
                return
            if last.ended is None:
                last.ended, last.error = t, error
        if job.state in ENDED:
            # Its end was told already; the first word counts.
            return
        node = self.node(job.node)
        self.move(job, state)
        job.ended = t
        node.last = t if node.last is None else max(node.last, t)
        node.rates.pop(job.job_id, None)
        if error is not None:
            node.error = error
        self.spend(job, node)
        self.forget()

    def spend(self, job: JobView, node: NodeView) -> None:
        """Count the times of a job that has ended."""
        if job.kind == "block":
            for phase, begin, end in job.spans(job.ended or 0):
                job.spent[phase] = job.spent.get(phase, 0) + end - begin
                node.spent[phase] = node.spent.get(phase, 0) + end - begin

    def unspend(self, job: JobView, node: NodeView) -> None:
        """Take the times of a job back that goes on."""
        for phase, ms in job.spent.items():
            node.spent[phase] -= ms
        job.spent = {}

    def forget(self) -> None:
        """Let go of the shorter half of the jobs that have ended well, when there are too many."""
        limit = self._limits.jobs
        if limit is None or len(self.jobs) < 2 * limit:
            return
        ended = [each for each in self.jobs.values() if each.state in ENDED]
        if len(ended) < limit:
            return
        ended.sort(key=lambda each: (each.state == "finished", -each.lasted(0)))
        for job in ended[limit // 2 :]:
            del self.jobs[job.job_id]
            self.forgotten += 1

    def count(self, job: JobView, handle: str) -> None:
        """Count a value that a job has put out."""
        node = self.nodes[job.node]
        job.outputs += 1
        node.outputs += 1
        node.handles[handle] = node.handles.get(handle, 0) + 1

    def put(self, job: JobView) -> None:
        """Note that a job has put something out, or has ended: others may begin for that."""
        node = self.nodes[job.node]
        node.put = self.place()
        node.putter = self.last_put = job.job_id

    def place(self) -> int:
        """Return where in the journal the event is that is being taken; later ones have higher places."""
        return (self.offset << 20) + self.within
