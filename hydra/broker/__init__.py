"""The broker: an embedded Kafka (jars, Java, start, stop), and admin calls and connectivity checks for any Kafka."""
