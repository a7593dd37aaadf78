from oocana import Context


async def main(params: dict, context: Context):
    context.send_message(params)
    heard, rates = [], []
    job = context.run_block("same", inputs={"x": 5})
    job.add_output_callback(heard.append)
    job.add_progress_callback(rates.append)
    await job.finish()
    return {"out": [heard, rates[-1]]}
