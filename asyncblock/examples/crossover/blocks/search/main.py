"""Look for the best window. How many trials there are depends on their outcome, so that no flow could draw them."""

from __future__ import annotations

import asyncio
import csv
from pathlib import Path
from typing import Any

from asyncblock import Context

WIDEST = 32


def sample_data() -> Path:
    """Return the CSV of ten stocks that matplotlib ships."""
    import matplotlib

    return Path(matplotlib.get_data_path(), "sample_data", "Stocks.csv")


def read_prices(path: Path, ticker: str) -> list[float]:
    """Read one column; months without a price are left out."""
    with path.open(encoding="utf-8") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        tickers = list(rows.fieldnames or [])[1:]
        if ticker not in tickers:
            raise ValueError(f"{path} has no column {ticker!r}; it has {', '.join(tickers)}")
        prices = [float(row[ticker]) for row in rows if row[ticker]]
    if len(prices) <= WIDEST:
        raise ValueError(f"{path} has {len(prices)} prices of {ticker!r}; a search needs more than {WIDEST}")
    return prices


def untried(best: int, step: int, growth: dict[int, float]) -> tuple[set[int], int]:
    """Return the windows to try next, nearer and nearer to the best one; none when both its neighbours were tried."""
    while True:
        step = max(step // 2, 1)
        windows = {each for each in (best - step, best + step) if 2 <= each <= WIDEST} - growth.keys()
        if windows or step == 1:
            return windows, step


async def main(inputs: dict[str, Any], ctx: Context) -> dict[str, Any]:
    path = Path(inputs["path"]).expanduser() if inputs.get("path") else await asyncio.to_thread(sample_data)
    prices = await asyncio.to_thread(read_prices, path, inputs["ticker"])
    growth: dict[int, float] = {}

    async def trial(window: int) -> None:
        job = await ctx.run_block("self::trial", inputs={"prices": prices, "window": window}, strict=True)
        growth[window] = (await job)["growth"]

    best, step = 2, WIDEST // 2
    windows = {2, *range(step, WIDEST + 1, step)}
    while windows:
        async with asyncio.TaskGroup() as tasks:
            for window in windows:
                tasks.create_task(trial(window))
        best = max(growth, key=lambda window: (growth[window], -window))
        await ctx.report_log(f"{len(growth)} trials: {best} months are best so far, growth {growth[best]:.2f}")
        await ctx.report_progress(100 - 100 * step // WIDEST)
        windows, step = untried(best, step, growth)
    return {"best": {"window": best, "growth": growth[best], "held": prices[-1] / prices[0], "trials": len(growth)}}
