import asyncio

from oocana import Context

kept = []


async def main(params: dict, context: Context):
    context.send_message(params)

    async def finish():
        await asyncio.sleep(0.01)
        context.finish(result={"out": params["x"]})

    kept.append(asyncio.create_task(finish()))
    return context.keepAlive
