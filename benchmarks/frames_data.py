"""The frames of the benchmark ``frames``: how they are made, known again and worked on, by all who take part."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["burn", "dirty_mb", "held_mb", "made", "right"]

_COLUMNS = 8


def made(kind: str, mb: int) -> Any:
    """Return a value of about so many MB (10^6 bytes); for ``strings`` so many thousand rows."""
    numpy: Any = import_module("numpy")
    if kind == "array":
        return numpy.arange(mb * 125_000, dtype="f8")
    pandas: Any = import_module("pandas")
    if kind == "numbers":
        rows = mb * 125_000 // _COLUMNS
        block = numpy.arange(rows * _COLUMNS, dtype="f8").reshape(_COLUMNS, rows)
        return pandas.DataFrame(block.T, columns=[f"c{n}" for n in range(_COLUMNS)], copy=False)
    rows = mb * 1000
    words = pandas.array([f"word number {n} of many" for n in range(1000)], dtype="str")
    text = words.take(numpy.arange(rows) % 1000)
    category = pandas.Categorical.from_codes(numpy.arange(rows) % 50, [f"kind {n}" for n in range(50)])
    return pandas.DataFrame({"text": text, "kind": category, "n": numpy.arange(rows)})


def right(kind: str, value: Any) -> bool:
    """Tell whether a value is what was made, by its last parts: what was measured isn't to be read whole."""
    if kind == "array":
        return bool(value[-1] == len(value) - 1)
    if kind == "numbers":
        return bool(value.iloc[-1, -1] == value.size - 1)
    last = len(value) - 1
    return bool(value["text"].iloc[-1] == f"word number {last % 1000} of many" and value["n"].iloc[-1] == last)


def burn(turns: int) -> int:
    """Work in pure Python."""
    total = 0
    for number in range(turns):
        total += number & 3
    return total


def dirty_mb() -> float:
    """Return the memory of this process alone that it has written to (Linux)."""
    text = Path("/proc/self/smaps_rollup").read_text()
    return int(text.partition("Private_Dirty:")[2].split()[0]) / 1000


def held_mb() -> tuple[float, float]:
    """Return the memory that this process has, and the most that it has had (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {line.partition(":")[0]: line.split()[1] for line in lines if line.startswith("Vm")}
    return int(found["VmRSS"]) / 1000, int(found["VmHWM"]) / 1000
