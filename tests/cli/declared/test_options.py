"""Whatever reaches a mainframe reaches it by the same options, or by the same variables of the environment."""

from __future__ import annotations

from typing import Any

import typer

from asyncblock.cli.app import app

VARIABLES = {"--url": "ASYNCBLOCK_URL", "--token": "ASYNCBLOCK_TOKEN", "--tls-ca": "ASYNCBLOCK_TLS_CA"}


def commands(group: Any) -> list[Any]:
    """Return all commands of a group: a group among them is one, too."""
    found = []
    for command in group.commands.values():
        found += [command, *(commands(command) if hasattr(command, "commands") else ())]
    return found


def test_a_command_that_may_go_to_a_mainframe_has_all_options_of_the_way() -> None:
    found = 0
    for command in commands(typer.main.get_command(app)):
        options = {each.opts[0]: each for each in command.params}
        if "--url" not in options:
            continue
        found += 1
        assert {*VARIABLES, "--header", "--data-dir"} <= set(options), command.name
        # A check asks a mainframe only when it is told to.
        if command.name != "check":
            assert {name: options[name].envvar for name in VARIABLES} == VARIABLES, command.name
    assert found > 10
