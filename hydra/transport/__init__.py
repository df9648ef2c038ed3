"""How it is done, one library a module: Marathon over HTTP, signals over ZMQ, counters by psutil."""
