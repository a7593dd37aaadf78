"""The command line: which commands there are, in the order of the help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import orjson
import typer

from .._version import installed_version
from .declared import flowruns, hosts, oncache, oncluster, onflows, onsessions
from .declared.options import Json
from .scaffold import new
from .wire import wire

__all__ = ["app"]

app = typer.Typer(
    name="asyncblock",
    help="Run flows of asynchronous blocks, on this machine or on many.",
    epilog=(
        "Environment: ASYNCBLOCK_URL, ASYNCBLOCK_TOKEN and ASYNCBLOCK_TLS_CA stand for --url, --token and --tls-ca, "
        "ASYNCBLOCK_HEADERS (NAME: VALUE, a line each) for --header; "
        "ASYNCBLOCK_DATA_DIR is where mainframes keep their data (default: ~/.local/state/asyncblock). "
        "ASYNCBLOCK_VAR_MEMORY is what var values may take of this machine's memory (default: a quarter), "
        "ASYNCBLOCK_VAR_DISK what they may take of its disk beyond that (default: as much as there is memory). "
        "Exit codes: 0 success, 1 the flow failed, 2 bad usage or a flow that can't be run, 130 interrupted."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

listing = typer.Typer(invoke_without_command=True, help="List a mainframe's sessions, or prune them.")
sets = typer.Typer(no_args_is_help=True, help="Make or examine a set of mainframes that share a NATS cluster.")
caches = typer.Typer(invoke_without_command=True, help="Show the cache of results, or prune it.")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"asyncblock {installed_version()}")
        raise typer.Exit(0)


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


def examples(json: Json = False) -> None:
    """List the flows that are shipped with asyncblock: run one with 'asyncblock run NAME'."""
    from ..flow.shipped import shipped

    found = [{"name": each.name, "about": each.about} for each in shipped()]
    if json:
        print(orjson.dumps(found).decode())
        return
    width = max(len(each["name"]) for each in found)
    for each in found:
        print(f"{each['name']:<{width}}  {each['about']}")


_UNLIKE_OTHERS: dict[Callable[..., None], dict[str, Any]] = {
    # Its command line is read by what it starts.
    hosts.oocana_executor: {
        "name": "oocana-executor",
        "add_help_option": False,
        "context_settings": {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    }
}
for command in (
    onflows.check,
    onflows.graph,
    onflows.flows,
    new,
    wire,
    flowruns.run,
    flowruns.resume,
    flowruns.retry,
    hosts.serve,
    hosts.executor,
    hosts.oocana_executor,
    flowruns.submit,
    onsessions.watch,
    onsessions.cancel,
    onsessions.outputs,
    onsessions.show,
    onsessions.report,
    onsessions.export,
    onsessions.page,
    hosts.backup,
    hosts.restore,
    hosts.doctor,
    examples,
):
    app.command(**_UNLIKE_OTHERS.get(command, {}))(command)

listing.callback()(onsessions.sessions)
listing.command()(onsessions.prune)
app.add_typer(listing, name="sessions")

caches.callback()(oncache.cache)
caches.command("prune")(oncache.prune_cache)
app.add_typer(caches, name="cache")

sets.command()(oncluster.init)
sets.command()(oncluster.status)
sets.command("hand-over")(oncluster.hand_over)
sets.command("import")(oncluster.import_directory)
app.add_typer(sets, name="cluster")
