"""One trial: a stock is held in the months after it closed above the mean of its last ``window`` closes."""

from __future__ import annotations

from typing import Any


def main(inputs: dict[str, Any]) -> dict[str, Any]:
    prices, window = inputs["prices"], inputs["window"]
    growth = 1.0
    total = sum(prices[:window])
    for month in range(window, len(prices)):
        if prices[month - 1] > total / window:
            growth *= prices[month] / prices[month - 1]
        total += prices[month] - prices[month - window]
    return {"growth": growth}
