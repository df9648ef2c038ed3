"""The engine, where tasks run: Marathon and Mesos, the apps' definitions, and the code that agents fetch."""
