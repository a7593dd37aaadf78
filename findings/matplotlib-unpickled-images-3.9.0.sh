#!/usr/bin/env bash
# Guess: a figure that was pickled and read again is drawn as the first one is; pickling is documented for figures, and an
#   array of float64 that comes out of a pickle equals the one that went in.
# Seen, matplotlib 3.9.0 with numpy 1.26.4: a figure with an RGB image of float64 is saved, its copy by pickle raises
#   "arrays must be of dtype byte, short, float32 or float64" (each protocol). numpy makes a new dtype for what it
#   unpickles, equal to its own one but not the same object, and this release asks which object it is. 3.9.4 draws both.
# Exits with 0 while that is so.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cat > "$place/draw.py" <<'PY'
import io
import pickle
import sys

import matplotlib
import numpy as np
from matplotlib.figure import Figure

made = Figure()
image = made.subplots().imshow(np.random.default_rng(1).random((100, 100, 3)))
made.savefig(io.BytesIO())
again = pickle.loads(pickle.dumps(made))
[copy] = again.axes[0].images
mine, its = image.get_array().dtype, copy.get_array().dtype
print(f"matplotlib {matplotlib.__version__}, numpy {np.__version__}: dtype equal {its == mine}, the same {its is mine}")
assert its == mine == np.dtype("float64") and its is not mine
try:
    again.savefig(io.BytesIO())
    said = "drawn"
except ValueError as error:
    said = str(error)
print("  the copy:", said)
assert said == sys.argv[1], said
PY
for pair in "3.9.0=arrays must be of dtype byte, short, float32 or float64" "3.9.4=drawn"; do
    python3 -m venv --clear "$place/venv"
    "$place/venv/bin/pip" install --quiet "matplotlib==${pair%%=*}" numpy==1.26.4
    "$place/venv/bin/python" "$place/draw.py" "${pair#*=}"
done
