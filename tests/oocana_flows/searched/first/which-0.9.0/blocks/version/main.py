from oocana import Context


def main(params: dict, context: Context):
    context.send_message(params)
    return {"out": "which-0.9.0"}
