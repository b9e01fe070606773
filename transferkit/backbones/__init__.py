"""Networks as ordered sequences of named stages."""
