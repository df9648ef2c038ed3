"""The records of a run: when each is sent, where it goes, how it is recognised. Pure."""
