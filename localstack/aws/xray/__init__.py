"""X-Ray: segments in, traces out, sampling rules and targets, groups."""
