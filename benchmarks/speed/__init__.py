"""Speed of transferkit against the usual alternatives and against the hardware's limit."""
