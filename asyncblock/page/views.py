"""What follows from a state: which nodes feed which, what a session waited for, the critical path, lanes, the axis."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import pairwise

from ..flow.plan import FlowPlan, Plan, Source
from .jobviews import PHASES, JobView, NodeView
from .state import SESSION, State

__all__ = ["Axis", "Bar", "TimelineLane", "critical_path", "feeds_of", "lanes", "nodes_in_order", "totals"]

_LEVELS = 6
"""Levels of subflows that are looked into; a subflow that calls itself ends somewhere."""


# ---------------------------------------------------------------------- who feeds whom


def feeds_of(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Return for the path of each node the paths of the nodes that feed it, also into and out of subflows."""
    found: dict[str, tuple[str, ...]] = {}
    _feed(plan, plan, (), {}, found)
    return found


def _feed(
    plan: Plan,
    flow: FlowPlan,
    path: tuple[str, ...],
    given: Mapping[str, tuple[str, ...]],
    found: dict[str, tuple[str, ...]],
) -> None:
    """Look at a flow; ``given`` says which nodes feed each of its inputs."""
    for node in flow.nodes:
        by_handle = {
            handle: tuple(
                dict.fromkeys(
                    each
                    for source in taken.sources
                    for each in (
                        given.get(source.handle, ()) if source.node_id is None else _makers(plan, flow, path, source)
                    )
                )
            )
            for handle, taken in node.inputs.items()
        }
        here = (*path, node.node_id)
        found["/".join(here)] = tuple(dict.fromkeys(each for feeding in by_handle.values() for each in feeding))
        if node.kind == "subflow" and node.flow is not None and len(here) < _LEVELS:
            _feed(plan, plan.flow(node.flow), here, by_handle, found)


def _makers(plan: Plan, flow: FlowPlan, path: tuple[str, ...], source: Source) -> Iterator[str]:
    """Yield the paths of the nodes that make a source's values: of a subflow's output, those in it."""
    if source.node_id is None:
        return
    here = (*path, source.node_id)
    yield "/".join(here)
    try:
        node = flow.node(source.node_id)
    except KeyError:
        return
    if node.kind == "subflow" and node.flow is not None and len(here) < _LEVELS:
        inner = plan.flow(node.flow)
        for each in inner.outputs.get(source.handle, ()):
            yield from _makers(plan, inner, here, each)


# ---------------------------------------------------------------------- nodes and time


def nodes_in_order(state: State) -> list[NodeView]:
    """Return the nodes as they stand in the flow's file, those in a subflow below it, others by when they began."""
    place = {node_id: index for index, node_id in enumerate(state.order)}
    nodes = [node for path, node in state.nodes.items() if path != SESSION]
    first = {node.path: index for index, node in enumerate(nodes)}

    def key(node: NodeView) -> tuple[int, int, str, int]:
        root = node.path.partition("/")[0]
        return (
            place.get(root, len(place)),
            first.get(root, len(first)),
            (node.path.count("/") and "1") or "0",
            first[node.path],
        )

    return sorted(nodes, key=key)


def totals(state: State, now: int) -> dict[str, int]:
    """Return the ms that jobs and nodes have spent in each phase, open ones up to ``now``."""
    spent = dict.fromkeys(PHASES, 0)
    for node in nodes_in_order(state):
        for phase, ms in node.spent.items():
            spent[phase] += ms
        if state.began is not None and node.kind == "block":
            first = node.first if node.first is not None else (None if state.over else now)
            spent["value"] += max(first - state.began, 0) if first is not None else 0
    for job in state.jobs.values():
        if job.ended is None and job.kind == "block":
            for phase, begin, end in job.spans(now):
                spent[phase] += end - begin
    return spent


def critical_path(state: State) -> list[str]:
    """Return the ids of the jobs that decided how long the session took, the first one first.

    From the job that failed the session, or ended last, back over those that let the next begin, as far as they are
    known.
    """
    jobs = [each for each in state.jobs.values() if each.kind != "flow"]
    if not jobs:
        return []
    job: JobView | None = max(
        jobs, key=lambda each: (each.ended if each.ended is not None else state.now + 1, each.created)
    )
    found: dict[str, None] = {}
    while job is not None and job.job_id not in found:
        found[job.job_id] = None
        job = state.jobs.get(job.cause) if job.cause is not None else None
    return list(found)[::-1]


# ---------------------------------------------------------------------- the timeline


@dataclass(frozen=True, slots=True)
class Bar:
    """An attempt in a lane."""

    job: JobView
    number: int
    begin: int
    end: int
    spans: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class TimelineLane:
    """A slot of an executor; the link is empty for jobs that none has."""

    link: str
    slot: int
    bars: list[Bar]


def lanes(state: State, now: int, most: int | None = None) -> tuple[list[TimelineLane], int]:
    """Put attempts into lanes of executors, so that none lies above another; return how many were left out, too.

    ``most`` bars at most: the longest.
    """
    bars = [bar for job in state.jobs.values() if job.kind == "block" for bar in _bars(job, now)]
    left_out = 0
    if most is not None and len(bars) > most:
        left_out = len(bars) - most
        bars = sorted(bars, key=lambda each: each.begin - each.end)[:most]
    by_link: dict[str, list[Bar]] = {}
    for bar in sorted(bars, key=lambda each: (each.begin, each.end)):
        by_link.setdefault(_attempt_link(bar), []).append(bar)
    found = []
    for link, waiting in sorted(by_link.items(), key=lambda item: (item[0] == "", item[1][0].begin)):
        free: list[tuple[int, int]] = []
        rows: list[TimelineLane] = []
        for bar in waiting:
            if free and free[0][0] <= bar.begin:
                slot = heappop(free)[1]
            else:
                slot = len(rows)
                rows.append(TimelineLane(link, slot, []))
            rows[slot].bars.append(bar)
            heappush(free, (bar.end, slot))
        found += rows
    return found, left_out


def _attempt_link(bar: Bar) -> str:
    return bar.job.attempts[bar.number].link


def _bars(job: JobView, now: int) -> Iterator[Bar]:
    for number, attempt in enumerate(job.attempts):
        spans = list(attempt.spans(now))
        before = job.attempts[number - 1].ended if number else None
        if before is not None and attempt.queued > before:
            spans.insert(0, ("pause", before, attempt.queued))
        end = attempt.ended if attempt.ended is not None else now
        begin = spans[0][1] if spans else attempt.queued
        yield Bar(job, number, begin, max(end, begin), tuple(spans))


class Axis:
    """Times to places from 0 to 1. Stretches in which nothing was there are drawn short, as ``breaks``."""

    _IDLE = 0.08
    """The part of the whole beyond which an idle stretch is drawn short."""

    _SHORT = 0.02
    """What is left of it, as a part of what isn't idle."""

    def __init__(self, begin: int, end: int, busy: Iterable[tuple[int, int]]) -> None:
        end = max(end, begin + 1)
        self.breaks: list[tuple[int, int]] = [
            (a, b) for a, b in _gaps(begin, end, busy) if b - a > self._IDLE * (end - begin)
        ]
        idle = sum(b - a for a, b in self.breaks)
        if idle >= end - begin:
            # Nothing to make room for.
            self.breaks, idle = [], 0
        short = self._SHORT * (end - begin - idle)
        self._points: list[tuple[int, float]] = [(begin, 0.0)]
        at = 0.0
        last = begin
        for a, b in self.breaks:
            at += a - last
            self._points.append((a, at))
            at += short
            self._points.append((b, at))
            last = b
        at += end - last
        self._points.append((end, at))
        self._width = at or 1.0
        self.begin, self.end = begin, end

    def place(self, t: int) -> float:
        """Return where a time is, from 0 to 1."""
        if t <= self.begin:
            return 0.0
        for (t0, x0), (t1, x1) in pairwise(self._points):
            if t <= t1:
                return (x0 + (x1 - x0) * (t - t0) / max(t1 - t0, 1)) / self._width
        return 1.0

    def ticks(self, count: int) -> list[int]:
        """Return round times for labels, those in idle stretches left out."""
        shown = (self.end - self.begin) - sum(b - a for a, b in self.breaks)
        step = next((each for each in _STEPS if shown / each <= count), _STEPS[-1])
        while shown / step > count:
            step *= 2
        found: list[int] = []
        first = self.begin
        for a, b in [*self.breaks, (self.end + 1, 0)]:
            t = self.begin + -(-(first - self.begin) // step) * step
            found += range(t, a, step)
            first = b
        return found


_STEPS: Sequence[int] = (
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000,
    900_000, 1_800_000, 3_600_000, 7_200_000, 21_600_000, 43_200_000, 86_400_000,
)  # fmt: skip
"""ms between labels."""


def _gaps(begin: int, end: int, busy: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    last = begin
    for a, b in sorted(busy):
        if a > last:
            yield last, min(a, end)
        last = max(last, b)
    if last < end:
        yield last, end
