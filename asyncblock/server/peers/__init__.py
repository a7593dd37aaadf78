"""What is known of the other end of a link, before any job: its token, its connection, what it announces, its lines.

The gateway and all that sends use it. Whatever comes from there is checked here, and nothing here decides about jobs.
"""
