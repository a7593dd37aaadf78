"""Sizing: what a set of mainframes costs that is larger than the machines at hand, from what was measured on these.

``python -m benchmarks.sizing`` prints the tables of ``docs/scale.md``, with ``--executors 500 --mainframes 3`` those of
another load. It multiplies; that what is multiplied holds at that size is an assumption, and each is named.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Final

__all__ = ["COSTS", "PAGE", "Cost", "Load", "Need", "first_to_saturate", "main", "needs", "tables"]

_DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class Cost:
    """A figure that was measured, and where it stands or how it was made."""

    value: float
    unit: str
    source: str


COSTS: Final = {
    "jobs": Cost(7_700, "jobs/s of a mainframe", "README, dispatch in flight 64"),
    "on a stream": Cost(0.4, "of that on a stream", "the bound that is asked for; 500-record batches reach 0.44"),
    "job": Cost(4.96, "kB of a mainframe for an open job", "README, memory mainframe kb per job"),
    "link": Cost(
        31.6, "kB of a mainframe for a link", "python -m benchmarks.idlelinks, 2026-11-30, one run on a busy machine"
    ),
    "life": Cost(
        15,
        "us of a processor a second for a link",
        "python -m benchmarks.idlelinks, 2026-11-30, one run on a busy machine",
    ),
    "session": Cost(26_115, "bytes of journal", "a session of 10 jobs with 10 outputs of 100 bytes each, 2026-11-30"),
    "commits": Cost(
        4, "commits a job, at most", "its dispatch, its start, its outputs, its end; fewer when jobs are many"
    ),
    "fsync": Cost(0.9, "ms of a disk", "p50 of 4 KiB, 2026-11-29"),
    "group": Cost(203 / 800, "fsyncs a commit, 8 in flight", "three servers that sync always, 2026-11-29"),
    "stream": Cost(60_000 / 256, "kB of a NATS server for an idle stream", "256 of 3 replicas, 2026-11-29"),
}
"""What is multiplied. All on the machine of the README: 2 cores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a set is to bear."""

    executors: int = 10_000
    sessions: int = 1_000_000
    """A day."""
    mainframes: int = 10
    partitions: int = 32
    servers: int = 3
    """Of NATS; each commit is on three."""
    jobs: int = 10
    """Of a session."""
    seconds: float = 10.0
    """That a job takes."""
    peak: float = 4.0
    """The busiest second, in average seconds."""

    @property
    def jobs_per_second(self) -> float:
        """Jobs of the set in the busiest second."""
        return self.sessions * self.jobs / _DAY * self.peak


@dataclass(frozen=True, slots=True)
class Need:
    """What one node needs of something."""

    node: str
    what: str
    amount: float
    unit: str
    used: float | None = None
    """The part of what there is; None where that depends on the machine."""


_WHOLE: Final = {each.name: each.default for each in fields(Load) if each.type == "int"}

PAGE: Final = {
    "32 partitions, 3 NATS servers": Load(),
    "10 partitions, 9 NATS servers": Load(partitions=10, servers=9),
}
"""The loads of ``docs/scale.md``."""


def needs(load: Load) -> Iterator[Need]:
    """Say what each mainframe and each NATS server needs in the busiest second, or a day."""
    cost = {name: each.value for name, each in COSTS.items()}
    jobs = load.jobs_per_second / load.mainframes
    links = load.executors * load.partitions / load.mainframes
    open_jobs = jobs * load.seconds
    yield Need("mainframe", "jobs", jobs, "jobs/s", jobs / (cost["jobs"] * cost["on a stream"]))
    yield Need("mainframe", "links, a websocket each", links, "links")
    yield Need("mainframe", "signs of life", links * cost["life"] / 1e6, "processors", links * cost["life"] / 1e6)
    yield Need("mainframe", "memory for links", links * cost["link"] / 1e6, "GB")
    # An executor has a websocket to each owner then, whatever that owns.
    fewer = load.executors * min(load.partitions, load.mainframes) / load.mainframes
    life = fewer * cost["life"] / 1e6
    yield Need("mainframe", "signs of life, a websocket an owner", life, "processors", life)
    yield Need("mainframe", "memory for open jobs", open_jobs * cost["job"] / 1e3, "MB")
    apart = load.jobs_per_second * cost["commits"] * 3 / load.servers
    yield Need("NATS server", "fsyncs, commits one by one", apart, "fsyncs/s", apart * cost["fsync"] / 1e3)
    grouped = apart * cost["group"]
    yield Need("NATS server", "fsyncs, 8 commits in flight", grouped, "fsyncs/s", grouped * cost["fsync"] / 1e3)
    stored = load.sessions * load.jobs / 10 * cost["session"] * 3 / load.servers
    yield Need("NATS server", "journal a day", stored / 1e9, "GB")
    streams = 2 * load.partitions * 3 / load.servers
    yield Need("NATS server", "memory for streams", streams * cost["stream"] / 1e3, "MB")
    yield Need("executor", "websockets", load.partitions, "websockets")


def first_to_saturate(load: Load) -> Need:
    """Return what is used up first when the load grows."""
    return max((each for each in needs(load) if each.used is not None), key=lambda each: each.used or 0.0)


def tables(loads: dict[str, Load]) -> str:
    """Return both tables in Markdown: what a node needs under each load, and what was measured."""
    found = {name: list(needs(load)) for name, load in loads.items()}
    lines = [f"| each | needs | {' | '.join(found)} |", f"|---|---|{'---|' * len(found)}"]
    for row in zip(*found.values(), strict=True):
        cells = [_shown(each) for each in row]
        lines.append(f"| {row[0].node} | {row[0].what} | {' | '.join(cells)} |")
    cells = [first_to_saturate(load).what for load in loads.values()]
    lines.append(f"| first | is used up | {' | '.join(cells)} |")
    lines += ["", "| measured | of what | where |", "|---|---|---|"]
    lines += [f"| {_number(each.value)} | {each.unit} | {each.source} |" for each in COSTS.values()]
    return "\n".join(lines)


def _shown(need: Need) -> str:
    used = "" if need.used is None else f", {need.used:.0%}"
    return f"{_number(need.amount)} {need.unit}{used}"


def _number(value: float) -> str:
    return f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"


def main() -> None:
    """Print the tables, of one load or of those of the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, usual in _WHOLE.items():
        parser.add_argument(f"--{name}", type=int, default=None, metavar=f"{usual}")
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    print(tables({"this load": Load(**given)} if given else PAGE))


if __name__ == "__main__":
    main()
