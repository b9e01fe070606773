"""Test protocols, one module each: (model, images) to probabilities."""
