"""Pure: no socket, file, process, thread, clock, log or third-party client; time is an argument."""
