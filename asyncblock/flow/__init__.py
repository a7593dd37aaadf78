"""Flows: YAML or Python in, a validated ``Plan`` out; ``run`` is the pure machine that decides what happens next.

``yamlfile`` reads with lines, ``lookup`` finds blocks, ``load`` validates, ``builder`` is the form in Python; ``plan``
is what travels and is journaled. Nothing here but ``load`` and what it calls touches a file.
"""

from __future__ import annotations

from .builder import Flow
from .load import load_flow
from .plan import Plan
from .run import Run

__all__ = ["Flow", "Plan", "Run", "load_flow"]
