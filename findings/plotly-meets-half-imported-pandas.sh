#!/usr/bin/env bash
# Guess: imports are locked for each module, so a plotly figure that is made on one thread while another one imports
#   pandas is made either without knowing pandas or with all of it.
# Seen, plotly 7.1.0, pandas 3.1.1, CPython 3.11: making a figure of plain lists raises AttributeError ("partially
#   initialized module 'pandas' has no attribute 'Series'", before that "... 'numpy' has no attribute 'ndarray'") as long
#   as the import on the other thread lasts. plotly doesn't import these libraries where nobody has; it looks into
#   sys.modules, where a module stands from the beginning of its import, and doing so takes no lock.
# Exits with 0 while that is so.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet plotly==7.1.0 pandas==3.1.1 numpy
"$place/venv/bin/python" - <<'PY'
import sys
import threading

import plotly
import plotly.graph_objects as go


def make():
    return go.Figure(go.Scatter(x=[1, 2], y=[3, 4]))


make()
assert "pandas" not in sys.modules and "numpy" not in sys.modules
there = threading.Event()


def bring():
    import pandas

    there.set()


importing = threading.Thread(target=bring)
importing.start()
made, errors = 0, set()
while not there.is_set():
    try:
        make()
        made += 1
    except AttributeError as error:
        errors.add(str(error).partition(" (")[0])
importing.join()
make()  # with the import behind it, it is right again
print("plotly", plotly.__version__, "pandas", sys.modules["pandas"].__version__)
print(f"while pandas was imported, {made} were made, others raised:", *sorted(errors), sep="\n  ")
assert any("'pandas' has no attribute 'Series'" in each for each in errors), errors
PY
