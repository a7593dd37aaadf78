"""``run --watch``: a flow is run, and run again after each edit of its packages."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from pathlib import Path

from ..blockcode.packages import edit_mark, package_root
from ..errors import InvalidFlow
from ..flow.plan import Plan
from .commands import run_plan
from .edits import Edits, need_watchfiles
from .interrupts import INTERRUPTED, Interrupts
from .submitting import Wanted, resolve

__all__ = ["run_again"]


async def run_again(wanted: Wanted, workers: int, data_dir: Path | None) -> int:
    """Run a flow, and again after each edit of its code or its flows, until interrupted.

    A session that runs meanwhile is cancelled and may clean up. Each round has processes of its own.
    """
    need_watchfiles("--watch")
    with Interrupts() as interrupts:
        path = Path(wanted.flow)
        edits = Edits(edit_mark, [package_root(path if path.is_dir() else path.parent)] if path.exists() else [])
        found = False
        while True:
            plan = await asyncio.to_thread(_plan, wanted, edits, found)
            found = found or plan is not None
            names = await _round(wanted, plan, workers, data_dir, interrupts, edits)
            if names is None:
                return INTERRUPTED
            print(f"edited: {', '.join(names)}; running it again", file=sys.stderr, flush=True)


def _plan(wanted: Wanted, edits: Edits, found: bool) -> Plan | None:
    """Return the plan; None if the flow can't be run at the moment, because it is being edited.

    A flow that was ``found`` before may be missing for a while, as when another branch is checked out.
    """
    try:
        plan = resolve(wanted)
    except InvalidFlow as error:
        if not found and not Path(wanted.flow).exists():
            raise
        print("\n  ".join(["asyncblock: the flow can't be run:", *map(str, error.problems)]), file=sys.stderr)
        return None
    edits.add(plan.roots.values())
    return plan


async def _round(
    wanted: Wanted, plan: Plan | None, workers: int, data_dir: Path | None, interrupts: Interrupts, edits: Edits
) -> list[str] | None:
    """Run until an edit; return the names of the packages that were edited, None when it was interrupted."""
    async with aclosing(edits.follow()) as edited:
        edit = asyncio.ensure_future(anext(edited))
        running = asyncio.create_task(_run(wanted, plan, workers, data_dir, interrupts))
        try:
            await asyncio.wait({running, edit}, return_when=asyncio.FIRST_COMPLETED)
            if not edit.done():
                if running.result() == INTERRUPTED or interrupts.asked:
                    return None
                print("waiting for edits; Ctrl-C to leave", file=sys.stderr, flush=True)
            elif not running.done():
                print("edited while it runs: it is cancelled, and its blocks may clean up", file=sys.stderr, flush=True)
            return [root.name for root in await edit]
        finally:
            running.cancel()
            edit.cancel()
            await asyncio.wait({running, edit})


async def _run(wanted: Wanted, plan: Plan | None, workers: int, data_dir: Path | None, interrupts: Interrupts) -> int:
    return 2 if plan is None else await run_plan(wanted, plan, workers, data_dir, interrupts)
