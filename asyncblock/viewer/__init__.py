"""The live page: sessions in a browser, by a small process of its own that is an ordinary client.

``sources`` are where sessions come from (a mainframe, journals that nobody has open), ``cursors`` is the one cursor
over each session that is watched, whose fold (``asyncblock.page``) all tabs share, ``history`` reads back what the
fold doesn't keep: single lines, values, previews, and the state at an earlier moment; ``jobinputs`` what jobs were
given. ``told`` makes JSON of it, ``tabs`` pushes that, ``routes`` answers what a panel asks for, ``pageorders`` does
what is ordered, by forms where there are inputs (``inputforms``) and from where it failed (``onwards``), ``sandboxes``
are the documents of hostile previews, ``pagegate`` decides who may ask, ``serving`` listens. ``static`` has the page:
ES modules, never built.

Why Starlette and uvicorn: the page needs routes, a form and websockets, and both are small, well kept, and what
services around asyncblock have anyway (the extra ``service``). What the core's ``websockets`` serves of HTTP is GET
without a body. Tabs have a websocket rather than server-sent events, because browsers open six connections to an
address for all their tabs together: the seventh tab of server-sent events would wait forever.

Why no framework in the browser: the state is folded here, in Python, so a tab draws what it is told: some 1,200 lines
that the next owner can read, and nothing to build, fetch or update.

Nothing of ``server`` is imported here. What is killed, closed or slow here is a client that has gone: no run notices.
"""

from __future__ import annotations

from .serving import ServedPage, serving
from .sources import LocalSessions, Sources, Watched

__all__ = ["LocalSessions", "ServedPage", "Sources", "Watched", "serving"]
