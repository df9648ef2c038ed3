"""A run that can be watched: its page on this machine, and metrics for others."""
