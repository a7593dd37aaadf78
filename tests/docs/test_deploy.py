"""``docs/deploy/``: units that systemd takes, commands and options that there are, and names that fit each other."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from asyncblock.cli.app import app

from ..flows import one_block
from ..processes import free_port, run, start

DEPLOY = Path(__file__).parents[2] / "docs" / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
OURS = {name: each for name, each in COMPOSE["services"].items() if each["image"] == "asyncblock"}


def parsed(arguments: list[str]) -> Any:
    """Parse a command's arguments as the command line does, run nothing, and return the context with its ``params``."""
    # Newer releases of typer bring a click of their own.
    group: Any = typer.main.get_command(app)
    return group.commands[arguments[0]].make_context(arguments[0], arguments[1:])


def fields(unit: Path) -> dict[str, str]:
    text = unit.read_text("utf-8").replace("\\\n", " ")
    return dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_units_command_is_one_and_its_children_get_their_grace(unit: Path) -> None:
    has = fields(unit)
    program, *arguments = shlex.split(has["ExecStart"])
    assert Path(program).name == "asyncblock"
    grace = parsed(arguments).params.get("grace", 0)
    assert seconds(has["TimeoutStopSec"]) > grace
    assert (has["KillMode"], has["Type"]) == ("mixed", "notify")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd isn't here")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_takes_a_unit(unit: Path, tmp_path: Path) -> None:
    # It looks for the program, which is where its user has installed it.
    here = shutil.which("asyncblock", path=str(Path(sys.executable).parent))
    assert here is not None
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text("utf-8").replace("/opt/asyncblock/bin/asyncblock", here))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if unit.name in line]
    assert (said, done.returncode) == ([], 0), done.stderr


def test_what_the_containers_run_are_commands_and_options_that_there_are() -> None:
    found = {name: parsed(each["command"]) for name, each in OURS.items()}
    assert {name: context.info_name for name, context in found.items()} == {
        "mainframe": "serve",
        "executor-1": "executor",
        "executor-2": "executor",
    }
    text = (DEPLOY / "Containerfile").read_text("utf-8")
    [command] = re.findall(r"^CMD (\[.*\])$", text, re.MULTILINE)
    assert parsed(yaml.safe_load(command)).info_name == "serve"
    for name, each in OURS.items():
        assert seconds(each["stop_grace_period"]) > found[name].params.get("grace", 0)


def test_the_containers_are_confined() -> None:
    for each in OURS.values():
        assert each["read_only"] is True
        assert each["init"] is True
        assert each["cap_drop"] == ["ALL"]
        assert not each["user"].startswith("0")
        # All that is written has a place.
        assert "/tmp" in each["tmpfs"]
    assert OURS["executor-1"]["shm_size"] == "64m"
    assert "USER asyncblock" in (DEPLOY / "Containerfile").read_text("utf-8")


def test_names_in_the_compose_file_fit_each_other() -> None:
    services = COMPOSE["services"]
    known = {
        option
        for command in ("serve", "executor")
        for parameter in parsed([command]).command.params
        for option in ([parameter.envvar] if isinstance(parameter.envvar, str) else [])
    }
    for each in services.values():
        assert set(each.get("depends_on", ())) <= services.keys()
        assert set(each.get("secrets", ())) <= COMPOSE["secrets"].keys()
        for volume in each.get("volumes", ()):
            source = volume.split(":")[0]
            assert (DEPLOY / source).exists() if source.endswith((".yml", ".yaml")) else True
            assert source.startswith("./") or source in COMPOSE["volumes"]
        for name in each.get("environment", {}):
            assert name in known or name.startswith("OTEL_"), name
    [command] = [each["environment"]["ASYNCBLOCK_URL"] for name, each in OURS.items() if name == "executor-1"]
    assert command == "ws://mainframe:7788"
    endpoint = services["mainframe"]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"]
    collector = yaml.safe_load((DEPLOY / "collector.yaml").read_text("utf-8"))
    port = collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"].rpartition(":")[2]
    assert endpoint == f"http://collector:{port}"
    for pipeline in collector["service"]["pipelines"].values():
        for part in ("receivers", "processors", "exporters"):
            assert set(pipeline[part]) <= collector[part].keys()
    [scrape] = yaml.safe_load((DEPLOY / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    assert scrape["static_configs"] == [{"targets": ["mainframe:7788"]}]
    assert scrape["authorization"]["credentials_file"] == f"/run/secrets/{services['prometheus']['secrets'][0]}"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Prometheus isn't here")
def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    token = tmp_path / "observer"
    token.write_text("token")
    text = (DEPLOY / "prometheus.yml").read_text("utf-8").replace("/run/secrets/observer", str(token))
    (tmp_path / "prometheus.yml").write_text(text)
    subprocess.run(["promtool", "check", "config", str(tmp_path / "prometheus.yml")], check=True, capture_output=True)


# ---------------------------------------------------------------------- a set


def located(text: str, places: dict[str, str]) -> str:
    """Put what is on this machine in place of what the compose file and nats.conf name."""
    for name, place in places.items():
        text = text.replace(name, place)
    return text


@pytest.mark.timeout(300)
async def test_the_compose_file_of_a_set_starts_one_by_its_own_words(tmp_path: Path) -> None:
    """Its configuration, its commands and its environment, with ports of this machine in place of hosts."""
    compose: dict[str, Any] = yaml.safe_load((DEPLOY / "cluster.compose.yaml").read_text("utf-8"))
    services = compose["services"]
    ports = {name: free_port() for name in ("nats1", "nats2", "nats3", "mainframe-1", "mainframe-2")}
    routes, monitors = ({name: free_port() for name in ("nats1", "nats2", "nats3")} for _ in range(2))
    places = {
        "@nats1,nats2,nats3": "@" + ",".join(f"127.0.0.1:{ports[name]}" for name in routes),
        **{f"{name}:6222": f"127.0.0.1:{port}" for name, port in routes.items()},
        **{f"{name}:8222": f"127.0.0.1:{port}" for name, port in monitors.items()},
        **{f"{name}:7788": f"127.0.0.1:{ports[name]}" for name in ("mainframe-1", "mainframe-2")},
        "/run/secrets/tokens": str(tmp_path / "tokens"),
        "${NATS_PASSWORD:?the password of the NATS servers}": "password",
        "${NATS_PASSWORD:?}": "password",
        "${ASYNCBLOCK_TOKEN:?the token with the role executor}": "of-executors",
        "/packages": str(tmp_path / "flow"),
        "0.0.0.0": "127.0.0.1",
    }
    (tmp_path / "tokens").write_text("of-executors executor\nof-clients client\n")
    (tmp_path / "tokens").chmod(0o600)
    path = one_block(tmp_path / "flow", "async def main(inputs, ctx):\n    await ctx.output(1, 'out')\n")

    def words(name: str) -> tuple[list[str], dict[str, str]]:
        has = services[name]
        own = {**places, "/data": str(tmp_path / name)}
        environment = {key: located(value, own) for key, value in has.get("environment", {}).items()}
        return [located(each, own) for each in has["command"]], environment

    async with AsyncExitStack() as stack:
        for name, port in routes.items():
            own = {"0.0.0.0:4222": f"127.0.0.1:{ports[name]}", "0.0.0.0:8222": f"127.0.0.1:{monitors[name]}"}
            own |= {"0.0.0.0:6222": f"127.0.0.1:{port}", "/data": str(tmp_path / name)}
            config = tmp_path / f"{name}.conf"
            config.write_text(located((DEPLOY / "nats.conf").read_text("utf-8"), {**own, **places}))
            program = str(Path(sys.executable).parent / "nats-server")
            environment = {**os.environ, **words(name)[1]}
            quiet = asyncio.subprocess.DEVNULL
            nats = await asyncio.create_subprocess_exec(program, "-c", str(config), env=environment, stderr=quiet)
            stack.push_async_callback(nats.wait)
            stack.callback(nats.kill)
        command, environment = words("init")
        async with asyncio.timeout(60):
            # As a person would: until the servers have found each other.
            while (made := await run(*command, state=tmp_path, **environment)).process.returncode != 0:
                assert "no NATS server lets us in" in made.err[0] or "leader" in made.err[0] or "doesn't" in made.err[0]
        for name in ("mainframe-1", "mainframe-2"):
            command, environment = words(name)
            more = ("--port", str(ports[name]))
            member = await stack.enter_async_context(start(*command, *more, state=tmp_path, **environment))
            await member.until_line("mainframe at", err=True)
        async with asyncio.timeout(60):
            while (said := await run("cluster", "status", "--name", "flows", state=tmp_path, **environment)).out:
                if said.process.returncode == 0:
                    break
        assert "3 of 3 replicas are up to date" in "\n".join(said.out)
        command, environment = words("executor-1")
        executor = await stack.enter_async_context(start(*command, state=tmp_path, **environment))
        await executor.until_line("executor for", err=True)
        reach = ("--url", environment["ASYNCBLOCK_URL"], "--token", "of-clients")
        submitted = await run("submit", path, *reach, state=tmp_path)
        assert submitted.process.returncode == 0, submitted.err


def test_names_in_the_compose_file_of_a_set_fit_each_other() -> None:
    compose: dict[str, Any] = yaml.safe_load((DEPLOY / "cluster.compose.yaml").read_text("utf-8"))
    for name, each in compose["services"].items():
        assert set(each.get("depends_on", ())) <= compose["services"].keys()
        for volume in each.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in compose["volumes"] or source == "./packages" or (DEPLOY / source).exists()
        assert each["cap_drop"] == ["ALL"], name
        assert each["read_only"] is True, name
