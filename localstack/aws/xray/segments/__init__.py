"""Segment documents: what makes one valid, how it is stored."""
