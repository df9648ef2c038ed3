"""Files and folders of this machine: written whole, locked, owned, removed."""
