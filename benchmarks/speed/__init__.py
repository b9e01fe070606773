"""How fast transferkit is against what people would use otherwise, and against the machine's limit."""
