"""Portable values: those of which another process on this host gets exactly what went in. Never a pickle.

pandas (DataFrame, Series, Index), polars (DataFrame, Series), pyarrow (Table, RecordBatch, Array, ChunkedArray), arrays
of numpy without objects, bytes and what is like them, plain values, tuples, lists and dicts of all these, and what
``register`` was told of. A value becomes a file: raw blocks, Arrow's stream where it is Arrow already, and at the end
a JSON description. Its reader maps it privately: nothing is copied, and what it writes is its own.
"""

from __future__ import annotations

from .layout import LONGEST, MOST, load, save, seal, size_of
from .portableforms import NotPortable, register

__all__ = ["LONGEST", "MOST", "NotPortable", "load", "register", "save", "seal", "size_of"]
