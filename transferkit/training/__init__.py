"""Training plans, the Lightning modules that carry them out, one fit, and its checkpoints.

May import: the modules beside the packages, `config`, `data`, `backbones`, `features`, `probes`, `models`.
"""
