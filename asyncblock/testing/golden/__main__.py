"""``python -m asyncblock.testing.golden``: replay the golden sessions against both ends, or record them."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from importlib import resources
from pathlib import Path
from typing import Final

import orjson

from ...link.link import BOOT
from .replaying import against_lower_end, against_mainframe
from .scene import SceneEntry, environment_free, record, stored_sessions
from .stories import STORIES

_AGENT: Final = re.compile(rb"asyncblock/[0-9][0-9A-Za-z.+-]*")


def main() -> int:
    """Record, or replay."""
    parser = argparse.ArgumentParser(prog="python -m asyncblock.testing.golden")
    parser.add_argument("--write", action="store_true", help="record them anew, into the sources of this package")
    options = parser.parse_args()
    environment_free()
    return asyncio.run(_write() if options.write else _replay())


async def _write() -> int:
    place = Path(str(resources.files("asyncblock.wire").joinpath("sessions")))
    for name, story in STORIES.items():
        entries = await record(story)
        head = {"story": name, "about": " ".join((story.__doc__ or "").split()), "wire": 1}
        lines = [orjson.dumps(head), *(orjson.dumps(_cleaned(each).to_json()) for each in entries)]
        (place / f"{name}.jsonl").write_bytes(b"\n".join(lines) + b"\n")
        print(f"{name}: {len(entries)} entries", file=sys.stderr)
    return 0


def _cleaned(entry: SceneEntry) -> SceneEntry:
    """Take out what would be another at each recording, and says nothing."""
    if entry.message[:1] != b"\x01":
        entry.message = _AGENT.sub(b"asyncblock", entry.message.replace(BOOT.encode(), b"b007" * 4))
    return entry


async def _replay() -> int:
    wrong = 0
    for name, entries in stored_sessions().items():
        for end in (against_mainframe, against_lower_end):
            print(f"{name}, {end.__name__}", file=sys.stderr)
            try:
                await end(name, entries)
            except* (AssertionError, TimeoutError) as group:
                wrong += 1
                print(f"{name}, {end.__name__}: {_leaf(group)}", file=sys.stderr)
    return 1 if wrong else 0


def _leaf(error: BaseException) -> BaseException:
    return _leaf(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


if __name__ == "__main__":
    sys.exit(main())
