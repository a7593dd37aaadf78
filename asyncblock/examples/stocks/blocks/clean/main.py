"""Drop months without any price, and fill gaps of at most three months. A sync block: it runs on a worker thread."""

from __future__ import annotations

from typing import Any

import pandas as pd

from asyncblock import SyncContext

MAX_GAP = 3
"""Months over which a price is carried forward."""


def clean(prices: pd.DataFrame) -> pd.DataFrame:
    """Return the prices without empty months and with short gaps filled."""
    return prices.dropna(how="all").ffill(limit=MAX_GAP)


def main(inputs: dict[str, Any], ctx: SyncContext) -> dict[str, pd.DataFrame]:
    prices: pd.DataFrame = inputs["prices"]
    cleaned = clean(prices)
    for ticker in cleaned.columns:
        missing = int(cleaned[ticker].isna().sum())
        if missing:
            print(f"{ticker}: {missing} of {len(cleaned)} months have no price")
    ctx.report_progress(100)
    ctx.report_log(f"kept {len(cleaned)} of {len(prices)} months")
    return {"prices": cleaned}
