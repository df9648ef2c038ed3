"""What can be asked of a run, and the order that a run is given."""
