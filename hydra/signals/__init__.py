"""Signals to the tasks: their messages, and ZMQ that carries them."""
