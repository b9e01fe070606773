"""Training plans, the Lightning modules that execute them, one fit, and its checkpoints.

May import: the modules beside the packages, `config`, `data`, `backbones`, `features`, `probes`, `models`.
"""
