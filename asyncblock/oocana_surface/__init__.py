"""Blocks written for ``oocana``: the real package's names, with a context of its class that sends through ours.

Nothing of that package is imported unless a block needs it, and nothing is put under its name. Which blocks these are
is said in ``whose``; how their functions are called in ``calls``.
"""

from __future__ import annotations

from .calls import oocana_binding
from .service_face import oocana_service
from .whose import is_for_oocana

__all__ = ["is_for_oocana", "oocana_binding", "oocana_service"]
