"""The command line: flags, help, progress and printed results; each command calls what does its work."""
