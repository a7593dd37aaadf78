"""Draw prices and volatility over time."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from asyncblock import Context


def draw(prices: pd.DataFrame, volatility: pd.DataFrame) -> Figure:
    """Return a figure with the prices above and the volatility below."""
    figure = Figure(figsize=(10, 8), dpi=120, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    for ticker in prices.columns:
        above.plot(prices.index, prices[ticker], label=ticker, linewidth=1)
        below.plot(volatility.index, volatility[ticker], label=ticker, linewidth=1)
    above.set_yscale("log")
    above.set_ylabel("price")
    below.set_ylabel("volatility, 12 months")
    above.legend(ncols=5, fontsize="small")
    return figure


async def main(inputs: dict[str, Any], ctx: Context) -> dict[str, list[str]]:
    prices = inputs["prices"]
    await ctx.preview(draw(prices, inputs["volatility"]), id="chart")
    return {"tickers": [str(ticker) for ticker in prices.columns]}
