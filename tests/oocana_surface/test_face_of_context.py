"""The context of ``oocana`` that sends through ours: what it sends, drops and says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asyncblock import events

from ..flows import all_of, end_of, node, run_flow, warnings_of, write_flow
from .kit import BOTH, OUT, package, run

pytest.importorskip("oocana", reason="needs the extra 'oocana'")

VAR = {"handle": "var", "json_schema": {"contentMediaType": "oomol/var"}}
BIN = {"handle": "bin", "json_schema": {"contentMediaType": "oomol/bin"}}


@BOTH
async def test_the_context_is_of_their_class_and_output_takes_the_key_first(tmp_path: Path, form: str) -> None:
    found = await run(
        tmp_path,
        f"""
        import oocana
        from oocana import Context

        {form} main(params, context: Context):
            assert isinstance(context, oocana.Context)
            context.output("out", "text")
            context.output(key="out", value={{"a": 1}})
            context.outputs({{"out": [1, 2]}})
            return {{"out": 7}}
        """,
    )
    assert [(e.handle, e.output) for e in all_of(found, events.BlockOutput)] == [("out", "text"), ("out", {"a": 1})]
    [many] = all_of(found, events.BlockOutputs)
    assert many.outputs == {"out": [1, 2]}
    assert (end_of(found).state, end_of(found).outputs) == ("succeeded", {"out": 7})
    assert warnings_of(found) == []


@BOTH
async def test_a_handle_that_is_not_declared_is_warned_of_and_dropped(tmp_path: Path, form: str) -> None:
    found = await run(
        tmp_path,
        f"""
        from oocana import Context

        {form} main(params, context: Context):
            context.output("first", object())
            context.outputs({{"second": 1, "out": 2}})
            return {{"third": object(), "out": 3}}
        """,
    )
    words = "Output handle key: [{}] is not defined in Block outputs schema."
    assert warnings_of(found) == [words.format(each) for each in ("first", "second", "third")]
    assert all_of(found, events.BlockError) == []
    assert all_of(found, events.BlockOutput) == []
    [finished] = all_of(found, events.BlockFinished)
    assert finished.result == {"out": 3}
    assert (end_of(found).state, end_of(found).outputs) == ("succeeded", {"out": 3})


async def test_a_block_that_declares_no_outputs_puts_out_nothing(tmp_path: Path) -> None:
    flow = write_flow(
        tmp_path,
        [
            node(
                "n",
                "from oocana import Context\n\ndef main(params, context: Context):\n    return {'a': object()}\n",
                tmp_path,
                outputs=None,
            )
        ],
    )
    found = await run_flow(flow, workers=1)
    assert warnings_of(found) == ["Output handle key: [a] is not defined in Block outputs schema."]
    assert end_of(found).state == "succeeded"


async def test_the_names_that_published_blocks_import_are_there(tmp_path: Path) -> None:
    found = await run(
        tmp_path,
        """
        from oocana import (
            ArrayFieldSchema, BinValueDict, BlockDict, BlockExecuteException, BlockHandler, BlockInfo, BlockJob,
            CompressionOptions, ContentMediaType, Context, CredentialInput, DefaultPreviewPayload, Downstream,
            FieldSchema, FlowDownstream, HandleDef, HandleDefDict, HostInfo, ImagePreviewPayload, InputHandleDef,
            JSONPreviewPayload, JobDict, LLMMessage, LLMModelOptions, MediaPreviewPayload, NodeDownstream,
            OOMOL_LLM_ENV, ObjectFieldSchema, OutputHandleDef, PandasPreviewPayload, PreviewPayload,
            PrimitiveFieldSchema, QueryBlockResponse, SecretFieldSchema, ServiceContextAbstractClass,
            ServiceExecutePayload, ServiceExecutor, ServiceMessage, StopAtOption, StoreKey, TablePreviewPayload,
            TextPreviewPayload, ToFlow, ToNode, VarFieldSchema, VarValueDict, data, dumps, is_array_dict, is_bin_value,
            is_object_dict, is_primitive_dict, is_secret_dict, is_var_dict, is_var_value,
            setup_dataframe_serialization,
        )

        def main(params, context: Context):
            setup_dataframe_serialization(context, {"method": "gzip"})
            return {"out": dumps({"a": 1})}
        """,
    )
    assert end_of(found).outputs == {"out": '{"a": 1}'}


async def test_what_a_context_says_of_its_job_and_its_surroundings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OO_HOST_ENDPOINT", "host.of.tests")
    monkeypatch.setenv("OOMOL_TOKEN", "a token")
    monkeypatch.setenv("OOMOL_FUSION_API_URL", "https://fusion")
    monkeypatch.setenv("OOMOL_LLM_BASE_URL", "https://llm")
    monkeypatch.setenv("OOMOL_LLM_MODELS", "a,b")
    monkeypatch.delenv("OOMOL_LLM_API_KEY", raising=False)
    found = await run(
        tmp_path,
        """
        import os
        from oocana import Context

        async def main(params, context: Context):
            for directory in (context.tmp_dir, context.tmp_pkg_dir, context.pkg_dir, context.session_dir):
                assert os.path.isdir(directory), directory
            assert context.pkg_data_dir == context.pkg_dir
            assert context.tmp_pkg_dir.startswith(context.tmp_dir)
            assert context.block_info["stacks"][-1]["node_id"] == context.node_id == "n"
            assert context.job_info == {"session_id": context.session_id, "job_id": context.job_id}
            assert context.inputs is params
            assert list(context.inputs_def) == ["a"]
            assert context.outputs_def["out"]["handle"] == "out"
            context.logger.info("logged")
            context.report_log("a line", "stderr")
            context.log_json({"json": 1})
            context.send_message("a message")
            context.send_warning("a warning")
            context.report_progress(40)
            context.report_progress("fifty")
            context.preview({"type": "text", "data": "shown"}, id="p")
            llm = context.oomol_llm_env
            return {"out": [context.host_endpoint, await context.oomol_token(), context.oomol_fusion_api_url,
                            llm["models"], llm["base_url"], context.host_info["gpu_vendor"]]}
        """,
        inputs_from=[{"handle": "a", "value": 1}],
    )
    assert end_of(found).error is None
    assert end_of(found).outputs == {
        "out": ["host.of.tests", "a token", "https://fusion", ["a", "b"], "https://llm", "unknown"]
    }
    assert [e.log for e in all_of(found, events.BlockLog)] == ["INFO logged", "a line"]
    assert [e.payload for e in all_of(found, events.BlockMessage)] == ["a message"]
    assert [e.payload["data"] for e in all_of(found, events.BlockPreview)] == ["shown"]
    said = warnings_of(found)
    assert "a warning" in said
    assert any("api_key" in each for each in said)
    assert any("fifty" in each for each in said)
    assert 40 in [e.rate for e in all_of(found, events.BlockProgress)]


async def test_an_output_is_directed_at_the_connections_that_are_meant(tmp_path: Path) -> None:
    source = """
        from oocana import Context

        def main(params, context: Context):
            context.output("out", 1, to_node=[{"node_id": "b", "input_handle": "k"}])
    """
    taken = "def main(inputs, ctx):\n    pass\n"
    fed: dict[str, Any] = {
        "inputs": [{"handle": "k"}],
        "inputs_from": [{"handle": "k", "from_node": [{"node_id": "a", "output_handle": "out"}]}],
    }
    nodes = [node("a", source, tmp_path), node("b", taken, tmp_path, **fed), node("c", taken, tmp_path, **fed)]
    found = await run_flow(write_flow(tmp_path, nodes), workers=1)
    assert {e.node_id for e in all_of(found, events.BlockFinished)} == {"a", "b"}


async def test_a_context_cannot_be_pickled_and_has_no_connection_of_theirs(tmp_path: Path) -> None:
    found = await run(
        tmp_path,
        """
        import pickle
        from oocana import Context

        def main(params, context: Context):
            said = []
            for attempt in (lambda: pickle.dumps(context), lambda: context._Context__mainframe.send({}, {})):
                try:
                    attempt()
                except Exception as error:
                    said.append(type(error).__name__)
            return {"out": said}
        """,
    )
    assert end_of(found).outputs == {"out": ["TypeError", "AttributeError"]}


ADD = """
from oocana import Context

def main(params, context: Context):
    context.report_progress(50)
    context.output("out", params["a"])
    context.outputs({"out": params["a"] + 1, "more": "m"})
    return {"out": params["a"] + params["b"]}
"""
ADD_DEFS = {
    "inputs_def": [
        {"handle": "a", "json_schema": {"type": "number"}},
        {"handle": "b", "value": 10},
    ],
    "outputs_def": [{"handle": "out"}, {"handle": "more"}],
}


async def test_queries_are_answered_in_their_form(tmp_path: Path) -> None:
    caller = """
        from oocana import Context

        async def main(params, context: Context):
            add = await context.query_block("self::add")
            assert add["type"] == "task"
            assert add["inputs_def"]["b"]["value"] == 10
            assert set(add["outputs_def"]) == {"out", "more"}
            assert add["additional_inputs"] is False and add["additional_outputs"] is False
            for wrong in (context.query_block("self::nothing"), context.query_block("nothing")):
                try:
                    await wrong
                except ValueError as error:
                    assert "nothing" in str(error)
                else:
                    raise AssertionError("it isn't there")
            await context.internal.update_node_weight("n", 2)
            await context.internal.update_node_weight("nobody", 2)
            for weight in (-1, float("inf"), "heavy"):
                try:
                    await context.internal.update_node_weight("n", weight)
                except ValueError:
                    continue
                raise AssertionError(weight)
            downstream = await context.query_downstream()
            [taker] = downstream["out"]["to_node"]
            assert (taker["node_id"], taker["input_handle"]) == ("t", "k"), downstream
            return {"out": 1}
    """
    flow = package(
        tmp_path,
        {
            "caller": (caller, OUT),
            "add": (ADD, ADD_DEFS),
            "taker": ("def main(inputs, ctx):\n    pass\n", {"inputs_def": [{"handle": "k"}]}),
        },
        [
            {"node_id": "n", "task": "self::caller"},
            {
                "node_id": "t",
                "task": "self::taker",
                "inputs_from": [{"handle": "k", "from_node": [{"node_id": "n", "output_handle": "out"}]}],
            },
        ],
    )
    found = await run_flow(flow, workers=1)
    assert end_of(found).error is None
    assert any("nobody" in each for each in warnings_of(found))
