from oocana import Context


def main(params: dict, context: Context):
    context.send_message(params)
    context.output("first", object())
    context.outputs({"out": 1, "second": 2})
    return {"out": 2, "third": object()}
