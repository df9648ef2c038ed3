"""The Kafka clients behind the two driver Protocols: ``wire``, ``kafka-python``, ``confluent``."""
