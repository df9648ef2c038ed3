"""A result as text and as JSON."""
