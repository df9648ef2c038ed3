"""Hydra, the Apache Kafka scaling test: one publisher, many subscribers, every record counted.

This distribution is ``hydra-scaletest``. It is not hydra-core, the configuration framework, which uses the same
import name.
"""

__version__ = "0.1.0"
