"""Sampling: rules, and the targets that divide them among their clients."""
