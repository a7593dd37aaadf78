#!/usr/bin/env bash
# Guess: Styler.to_html(max_rows=10) costs what ten rows cost, so it is the way to show the head of a large styled frame.
# Seen, pandas 3.1.1: max_rows cuts what is written, not what is styled. Functions given to apply run over all rows: with
#   20,000 x 10 cells the ten rows take more than twenty times as long as the same of frame.head(10).style. A gradient of
#   the head is another one, though: it is made of its own ten rows.
# Exits with 0 while that is so.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet pandas==3.1.1 jinja2 matplotlib
"$place/venv/bin/python" - <<'PY'
import time

import numpy as np
import pandas as pd

frame = pd.DataFrame(np.random.default_rng(1).random((20_000, 10)))
seen = []


def shade(column):
    seen.append(len(column))
    return ["color: red" if value > 0.5 else "" for value in column]


def seconds(make):
    make()  # imports, caches
    began = time.perf_counter()
    html = make()
    return time.perf_counter() - began, html.count("<tr>")


cut = seconds(lambda: frame.style.apply(shade).to_html(max_rows=10))
assert set(seen) == {20_000}, "the function is given all rows"
head = seconds(lambda: frame.head(10).style.apply(shade).to_html())
print(f"pandas {pd.__version__}: max_rows=10 {cut[0]:.3f} s for {cut[1]} rows, head(10) {head[0]:.3f} s for {head[1]} rows")
assert cut[0] > 20 * head[0]
PY
