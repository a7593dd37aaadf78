def main(service):
    total = 0

    def add(inputs, context):
        nonlocal total
        total += inputs["x"]
        return {"a": total}

    service.block_handler = {"add": add}
