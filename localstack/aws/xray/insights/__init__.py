"""Insights: incidents in the fault rates of a group's services."""
