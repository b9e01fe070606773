"""Training a backbone from scratch on a source set."""
