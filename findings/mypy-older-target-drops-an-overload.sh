#!/usr/bin/env bash
# Guess: a project whose oldest Python is 3.11 tells mypy so (python_version = "3.11"), and checks it under 3.12 beside
#   the newest numpy, too. numpy 2.5 needs 3.12, so either mypy says that its stubs can't be read for 3.11, or they mean
#   the same as for 3.12.
# Seen, mypy 2.4.1 with numpy 2.5.5: neither. The stubs take `override` from `typing`, which has it since 3.12. For 3.11
#   it is unknown, errors within installed packages aren't shown, and an overload that it decorates is dropped without a
#   word: the one of ndarray.argmax and argmin for no arguments. `array.argmax()` is an error then ("require at least one
#   argument"), and what it returns is Any. `array.sum()` falls to the next overload and changes its type, silently: from
#   Any to an integer.
# Exits with 0 while that is so.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet mypy==2.4.1
site=$("$place/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
# Only its stubs are read, so it need not be one that this interpreter could import.
"$place/venv/bin/pip" download --quiet --dest "$place" --python-version 3.12 --only-binary :all: --no-deps numpy==2.5.5
"$place/venv/bin/python" -m zipfile -e "$place"/numpy-*.whl "$site"
cat > "$place/rows.py" <<'PY'
import numpy as np

array = np.array([3, 1, 2])
reveal_type(array.argmax())
reveal_type(array.sum())
PY
cd "$place"
for version in 3.12 3.11; do
    echo "== for $version"
    "$place/venv/bin/mypy" --strict --python-version "$version" rows.py > "$version.txt" || true
    grep -E "error|Revealed" "$version.txt"
done
! grep -q "error:" 3.12.txt
grep -q 'rows.py:4: note: Revealed type is "numpy.signedinteger' 3.12.txt
grep -q 'rows.py:5: note: Revealed type is "Any"' 3.12.txt
grep -q 'rows.py:4: error: All overload variants of "argmax" of "ndarray" require at least one argument' 3.11.txt
grep -q 'rows.py:4: note: Revealed type is "Any"' 3.11.txt
grep -q 'rows.py:5: note: Revealed type is "numpy.signedinteger' 3.11.txt
