"""The live page: sessions in a browser, by a small process of its own that is an ordinary client.

``sources`` says where sessions come from: a mainframe, or journals that are read without being opened. ``cursors``
follows each session that is watched, once; all tabs share its fold (``asyncblock.page``). ``history`` reads back what
the fold doesn't keep: single lines, values, previews, and the state at an earlier moment. ``jobinputs`` reads what jobs
were given. ``told`` makes JSON of all that, ``tabs`` pushes it, and ``routes`` answers the requests of panels.

``pageorders`` carries out orders: cancel, start with inputs (``inputforms``), go on from where a session failed
(``onwards``). ``pagegate`` decides who may ask, ``sandboxes`` serves previews that may be hostile, ``serving`` listens.
``static`` has the page: ES modules, never built.

Why Starlette and uvicorn: the page needs routes, a form and websockets. Both are small, well kept, and what services
around asyncblock have anyway (the extra ``service``). Of HTTP the core's ``websockets`` serves only GET without a body.
Tabs have a websocket rather than server-sent events, because browsers open six connections to an address for all their
tabs together: the seventh tab of server-sent events would wait forever.

Why no framework in the browser: the state is folded here, in Python, and a tab only draws it. So there is nothing to
build, fetch or update.

Nothing of ``server`` is imported here. If the page is killed, closed or slow, it is a client that has gone: no run
notices.
"""

from __future__ import annotations

from .serving import ServedPage, serving
from .sources import LocalSessions, Sources, Watched

__all__ = ["LocalSessions", "ServedPage", "Sources", "Watched", "serving"]
