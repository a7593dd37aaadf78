"""Sum up each ticker in figures."""

from __future__ import annotations

from typing import Any

import pandas as pd

from asyncblock import Context


def sum_up(prices: pd.Series[float], returns: pd.Series[float], drawdown: pd.Series[float]) -> dict[str, Any]:
    """Return the figures of one ticker, over the months that have a price."""
    known = prices.dropna()
    years = (known.index[-1] - known.index[0]).days / 365.25
    growth = float(known.iloc[-1] / known.iloc[0])
    return {
        "months": len(known),
        "total_return": growth - 1,
        "annual_return": growth ** (1 / years) - 1 if years > 0 else None,
        "volatility": float(returns.std() * 12**0.5),
        "max_drawdown": float(drawdown.min()),
        "worst_month": {"date": returns.idxmin(), "return": float(returns.min())},
    }


async def main(inputs: dict[str, Any], ctx: Context) -> None:
    prices, returns, drawdown = inputs["prices"], inputs["returns"], inputs["drawdown"]
    tickers: dict[str, Any] = {}
    for number, ticker in enumerate(prices.columns, 1):
        tickers[str(ticker)] = sum_up(prices[ticker], returns[ticker], drawdown[ticker])
        await ctx.report_progress(100 * number / len(prices.columns))
    ranked = sorted(tickers, key=lambda ticker: tickers[ticker]["total_return"])
    summary = {
        "rows": len(prices),
        "first": prices.index[0],
        "last": prices.index[-1],
        "tickers": tickers,
        "best": ranked[-1],
        "worst": ranked[0],
    }
    await ctx.preview(pd.DataFrame(tickers).T.reset_index(names="ticker"))
    await ctx.output(summary, "summary")
