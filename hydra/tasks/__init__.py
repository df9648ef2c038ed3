"""What kafka-pub and kafka-sub do in their processes."""
