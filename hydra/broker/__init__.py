"""The broker side: the embedded Kafka (resolve, start, stop) and the admin calls on any broker."""
