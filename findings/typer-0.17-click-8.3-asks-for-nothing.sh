#!/usr/bin/env bash
# Guess: an argument without a default is asked for: typer, whose metadata allows any click from 8.0.0 on, ends with exit
#   code 2 and "Missing argument"; where a click is too new for it, something is raised at the import or at the call.
# Seen, typer 0.17.3 beside click 8.3.0 and 8.3.1: pip has no objection, nothing is raised, and the function is called with
#   None for what has no default, though it is typed as str and int: exit code 0. click 8.3.0 marks what is missing by a
#   value of its own, where typer passes None as the default. With click 8.2.1, or from typer 0.18.0 on, it is asked for.
# Exits with 0 while that is so.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
cat > "$place/app.py" <<'PY'
import typer

app = typer.Typer()


@app.command()
def main(name: str, count: int = typer.Option(...)) -> None:
    print("called with", repr(name), repr(count))


app()
PY
run() { # typer click
    "$place/venv/bin/pip" install --quiet "typer==$1" "click==$2"
    "$place/venv/bin/pip" check > /dev/null
    code=0
    "$place/venv/bin/python" "$place/app.py" > "$place/said" 2>&1 || code=$?
    echo "typer $1, click $2: exit code $code, $(grep -oE 'called with .*|Missing (argument|option)|[A-Za-z]*Error: .*' "$place/said" | head -1)"
}
{
    run 0.17.3 8.2.1
    run 0.17.3 8.3.0
    run 0.17.3 8.3.1
    run 0.18.0 8.3.1
} | tee "$place/seen"
diff "$place/seen" - <<'SEEN'
typer 0.17.3, click 8.2.1: exit code 2, Missing argument
typer 0.17.3, click 8.3.0: exit code 0, called with None None
typer 0.17.3, click 8.3.1: exit code 0, called with None None
typer 0.18.0, click 8.3.1: exit code 2, Missing argument
SEEN
