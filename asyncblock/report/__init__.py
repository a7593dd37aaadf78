"""Sessions as files: one HTML page that tells all of a session, or a directory with everything that came of it.

``recording`` is where a session is read from, ``collect`` folds it and fetches what is shown, ``previews`` makes markup
or files of previews, ``timeline``, ``tables`` and ``document`` make the page, ``export`` the directory.

What blocks have made is hostile until shown otherwise: texts are escaped (``page.markup``), pictures are data, and
HTML runs in sandboxed frames without any network.
"""

from __future__ import annotations

from .collect import Collected, collect
from .export import export
from .recording import Followed, Recording

__all__ = ["Collected", "Followed", "Recording", "collect", "export"]
