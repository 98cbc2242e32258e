"""Services and who calls whom: service graphs, their statistics over time, and what is expected of them."""
