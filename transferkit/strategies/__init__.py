"""What fits a model, one module a kind of strategy: probes, and later phases of finetuning."""
