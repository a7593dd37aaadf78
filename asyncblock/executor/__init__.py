"""The executor: loads blocks and runs their jobs, in its own process or inside a service.

``Executor`` is the public face. It never imports the server: another language may replace either.
"""

from __future__ import annotations

from .executor import Executor

__all__ = ["Executor"]
