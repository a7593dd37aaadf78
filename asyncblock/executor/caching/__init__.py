"""The cache of results: what a block has put out is kept by what it depends on, and given again without running it.

``keys`` says what a result depends on, ``digests`` looks at inputs, ``installed`` at libraries; ``results`` are the
files; ``recorder`` takes down what a block puts out, ``replay`` gives it again; ``attempt`` is one job's part in it.
``keptvalues`` tells a retry what the var values of a session were.
"""

from __future__ import annotations

from .attempt import Caching, results_in, retried_dir
from .digests import Named, NoDigest, digest_of, texts_of
from .installed import changed_since, versions
from .keptvalues import KeptValues, lay_beside
from .keys import FILES, Key
from .results import Results, limit_here

__all__ = [
    "FILES",
    "Caching",
    "KeptValues",
    "Key",
    "Named",
    "NoDigest",
    "Results",
    "changed_since",
    "digest_of",
    "lay_beside",
    "limit_here",
    "results_in",
    "retried_dir",
    "texts_of",
    "versions",
]
