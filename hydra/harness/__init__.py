"""What happens in what order, on Protocols only."""
