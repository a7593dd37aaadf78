from oocana import Context


def main(params: dict, context: Context):
    context.send_message(params)
    return {"out": "pinned-2.0.0"}
