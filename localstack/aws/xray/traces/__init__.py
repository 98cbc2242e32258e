"""Traces: put together from segment documents, indexed, summarized, read back."""
