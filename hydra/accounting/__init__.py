"""From what the witnesses saw to what it means. Pure."""
