"""Flows that are shipped with asyncblock, each on real data: ``asyncblock run NAME``."""

from __future__ import annotations

from ..flow.shipped import Example, find
from ..flow.shipped import shipped as examples

__all__ = ["Example", "examples", "find"]
