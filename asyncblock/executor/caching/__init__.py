"""The cache of results: what a block has put out is kept by what it depends on, and given again without running it.

``keys`` says what a result depends on, ``digests`` looks at inputs, ``installed`` at libraries; ``results`` are the
files; ``recording`` takes down what a block puts out, ``replay`` gives it again; ``caching`` is one job's part in it.
"""

from __future__ import annotations

from .caching import Caching
from .results import Results, limit_here

__all__ = ["Caching", "Results", "limit_here"]
