import asyncio
import os
import sys
import time

from oocana import Context

import asyncblock


async def ours(inputs, ctx: asyncblock.Context):
    print("begins")
    await ctx.output(inputs["x"] + 1, "a")
    await ctx.outputs({"a": 2, "b": "two"})
    await ctx.preview("hello", id="p")
    await ctx.send_warning("careful")
    await ctx.send_message({"m": 1})
    await ctx.output("dropped", "nowhere")
    return {"b": "end"}


def theirs(inputs: dict, context: Context):
    print("begins", file=sys.stderr)
    context.output("a", inputs["x"] + 1)
    context.output("nowhere", 1)
    context.output("a", 9, to_node=[{"node_id": "n", "input_handle": "i"}])
    context.preview({"type": "text", "data": "hello"})
    context.report_log("line")
    return {"b": "end"}


async def surroundings(inputs, ctx: asyncblock.Context):
    return {
        "a": [ctx.session_dir, ctx.tmp_dir, ctx.tmp_pkg_dir, ctx.pkg_data_dir, ctx.session_id, ctx.job_id, ctx.node_id]
    }


def makes(inputs, context: Context):
    return {"var": {"kept", "here"}, "bin": b"\x00\x01" * 40_000}


def takes(inputs, context: Context):
    return {"a": [sorted(inputs["var"]), type(inputs["bin"]).__name__, len(inputs["bin"])]}


async def large(inputs, ctx: asyncblock.Context):
    await ctx.output(inputs["x"] + inputs["x"], "a")
    return {"b": len(inputs["x"])}


async def fails(inputs, ctx: asyncblock.Context):
    await ctx.output(1, "a")
    raise ValueError("no good")


def meets(inputs: dict, context: Context):
    os.makedirs(inputs["place"], exist_ok=True)
    with open(os.path.join(inputs["place"], context.job_id), "w"):
        pass
    while (came := len(os.listdir(inputs["place"]))) < inputs["count"]:
        time.sleep(0.02)
    return {"a": came}


def leaves(inputs, context: Context):
    sys.exit(0)


def dies(inputs, context: Context):
    context.output("a", os.getpid())
    time.sleep(0)
    os._exit(3)


async def waits(inputs, ctx: asyncblock.Context):
    await ctx.output("begun", "a")
    try:
        while not os.path.exists(inputs["x"]):  # noqa: ASYNC110  # a file tells nobody of it
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        print("cleans up")
        raise
    await ctx.output("goes on", "a")
    return {"b": "done"}


async def many(inputs, ctx: asyncblock.Context):
    for number in range(inputs["x"]):
        await ctx.output(number, "a")


async def progresses(inputs, ctx: asyncblock.Context):
    for number in range(inputs["x"]):
        await ctx.report_progress(number * 100 / inputs["x"])
        await ctx.output(number, "a")
    await ctx.report_progress(97)


async def asks(inputs, ctx: asyncblock.Context):
    described = await ctx.query_block("self::all")
    down = await ctx.query_downstream()
    job = await ctx.run_block("self::all", inputs={"x": inputs["x"]})
    found = [item async for item in job.outputs()]
    try:
        await ctx.run_block("self::none", inputs={})
    except asyncblock.AsyncBlockError as error:
        wrong = str(error)
    else:
        wrong = None
    try:
        await (await ctx.run_block("self::fails", inputs={}))
    except asyncblock.BlockFailed as error:
        failed = str(error)
    else:
        failed = None
    return {"a": [described["outputs_def"], down, found, wrong, failed]}


async def asks_theirs(inputs, context: Context):
    heard, rates = [], []
    job = context.run_block("self::all", inputs={"x": inputs["x"]})
    job.add_output_callback(heard.append)
    job.add_progress_callback(rates.append)
    await job.finish()
    return {"a": [heard, rates[-1]]}
