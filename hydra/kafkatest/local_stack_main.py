"""Run as ``python -m hydra.kafkatest.local_stack_main`` by a controller; see local_stack.py."""

from hydra.kafkatest.local_stack import main

main()
