"""The local Marathon: Marathon's HTTP API on one machine, whose tasks are child processes; see server.LocalMarathon."""
