"""Read a CSV of monthly prices: the first column is a date, the others are tickers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd

from asyncblock import Context


def sample_data() -> Path:
    """Return the CSV that matplotlib ships: ten tickers, monthly, with gaps and a comment line."""
    return Path(matplotlib.get_data_path(), "sample_data", "Stocks.csv")


def read_prices(path: Path) -> pd.DataFrame:
    """Read the prices, or say what is wrong with the file and where."""
    try:
        frame = pd.read_csv(path, comment="#")
    except pd.errors.EmptyDataError:
        raise ValueError(f"{path} is empty; it needs a header with a date column and tickers") from None
    if len(frame.columns) < 2 or frame.empty:
        raise ValueError(f"{path} needs a date column, at least one column of prices, and rows")
    dates = pd.to_datetime(frame.iloc[:, 0], errors="coerce")
    if dates.isna().any():
        row = int(dates.isna().to_numpy().nonzero()[0][0])
        raise ValueError(f"{path}, row {row + 2}: {frame.iloc[row, 0]!r} is no date")
    prices = frame.iloc[:, 1:].set_axis(pd.DatetimeIndex(dates, name="date"), axis=0)
    for ticker in prices.columns:
        wrong = pd.to_numeric(prices[ticker], errors="coerce").isna() & prices[ticker].notna()
        if wrong.any():
            row = int(wrong.to_numpy().nonzero()[0][0])
            raise ValueError(f"{path}, row {row + 2}, column {ticker!r}: {prices[ticker].iloc[row]!r} is no price")
    return prices.astype(float).sort_index()


async def main(inputs: dict[str, Any], ctx: Context) -> None:
    path = Path(inputs["path"]).expanduser() if inputs.get("path") else sample_data()
    await ctx.report_log(f"reading {path.name}")
    await ctx.report_progress(10)
    # Reading blocks; on a thread the event loop goes on.
    prices = await asyncio.to_thread(read_prices, path)
    await ctx.report_progress(70)
    await ctx.preview(prices.reset_index())
    await ctx.output(prices, "prices")
