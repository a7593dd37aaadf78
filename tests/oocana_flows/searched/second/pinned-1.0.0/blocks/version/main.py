from oocana import Context


def main(params: dict, context: Context):
    context.send_message(params)
    return {"out": "pinned-1.0.0"}
