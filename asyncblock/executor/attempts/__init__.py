"""One attempt of one job, from its dispatch to its one end: the function, the inputs, the call, and what is told of it.

The attachment makes them. A job knows no more of the executor than ``jobhost`` says, and must say its end exactly once.
"""
