"""What clients, operators and running jobs may ask for: one function for each method, and the role that it needs.

Answers of connections call it. It changes state only through sessions and in transactions, and knows no connection.
"""
