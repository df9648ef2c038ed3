"""One measurement, from tasks that are there to its result."""
