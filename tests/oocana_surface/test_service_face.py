"""Services written for ``oocana``."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
import yaml

from asyncblock import events

from ..flows import all_of, end_of, run_flow, warnings_of
from .kit import package

pytest.importorskip("oocana", reason="needs the extra 'oocana'")


@pytest.mark.parametrize("handler", ["{'a': handle}", "every"])
async def test_a_service_is_of_their_class_and_so_are_its_calls_contexts(tmp_path: Path, handler: str) -> None:
    directory = tmp_path / "services" / "one"
    directory.mkdir(parents=True)
    (directory / "main.py").write_text(
        textwrap.dedent(f"""
        from oocana import Context, ServiceContextAbstractClass

        def handle(inputs, context):
            assert isinstance(context, Context)
            context.output("out", "told")
            return {{"out": inputs["k"], "stray": object()}}

        def every(name, inputs, context):
            assert name == "a"
            return handle(inputs, context)

        def main(service: ServiceContextAbstractClass):
            assert isinstance(service, ServiceContextAbstractClass)
            service.waiting_ready_notify = True
            service.add_message_callback(lambda message: None)
            service["block_handler"] = {handler}
            assert service.block_handler == {handler}
            service.notify_ready()
        """)
    )
    blocks = [{"name": "a", "inputs_def": [{"handle": "k"}], "outputs_def": [{"handle": "out"}]}]
    executor = {"name": "python", "entry": "main.py", "function": "main"}
    (directory / "service.oo.yaml").write_text(yaml.safe_dump({"executor": executor, "blocks": blocks}))
    node = {"node_id": "s", "service": "mine::one::a", "inputs_from": [{"handle": "k", "value": 5}]}
    found = await run_flow(package(tmp_path, {}, [node]), workers=1)
    assert end_of(found).error is None
    assert [e.output for e in all_of(found, events.BlockOutput)] == ["told"]
    [finished] = all_of(found, events.BlockFinished)
    assert finished.result == {"out": 5}
    assert warnings_of(found) == ["Output handle key: [stray] is not defined in Block outputs schema."]
