"""What others do with the same work, each used as its own documentation shows."""
