"""The executor: loads blocks and runs their jobs, in its own process or inside a service.

``Executor`` is the public face; ``ServiceContext`` is what a service's ``main`` gets. It never imports the server:
another language may replace either.
"""

from __future__ import annotations

from .executor import Executor
from .service import ServiceContext

__all__ = ["Executor", "ServiceContext"]
