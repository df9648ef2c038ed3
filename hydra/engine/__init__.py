"""Where tasks run: Marathon and Mesos, and the code that agents run."""
