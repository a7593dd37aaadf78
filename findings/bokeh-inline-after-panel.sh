#!/usr/bin/env bash
# Guess: bokeh's resources.INLINE makes a page that stands for itself, whatever else the process has imported:
#   file_html(figure, INLINE) holds all scripts, and names none that a server would have to bring.
# Seen, bokeh 3.9.2 with panel 1.9.4: once panel is imported, the same call for the same plain bokeh figure gives a page
#   that also asks for a script by a relative address of a server ("static/extensions/panel/..."), which isn't there for
#   a page that is kept as a file.
# Exits with 0 while that is so.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet bokeh==3.9.2 panel==1.9.4
"$place/venv/bin/python" -W ignore - <<'PY'
import re

from bokeh.embed import file_html
from bokeh.plotting import figure
from bokeh.resources import INLINE


def asked_for():
    plot = figure()
    plot.line([1, 2], [3, 4])
    return re.findall(r'<script[^>]*\ssrc="([^"]*)"', file_html(plot, INLINE))


before = asked_for()
import panel

after = asked_for()
print("before panel is imported:", before or "no script from elsewhere")
print("after:", after)
assert before == []
assert any(address.startswith("static/extensions/panel") for address in after)
PY
