"""What holds for the whole account: encryption, the destination of trace data and its indexing rule, resource policies."""
