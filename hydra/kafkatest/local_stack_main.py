"""Run as ``python -m hydra.kafkatest.local_stack_main FOLDER`` by a controller; see local_stack.py."""

from hydra.kafkatest.local_stack import main

main()
