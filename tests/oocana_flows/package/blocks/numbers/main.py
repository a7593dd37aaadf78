from oocana import Context


async def main(params: dict, context: Context):
    context.send_message(params)
    for number in range(params["count"]):
        context.output("n", number)
