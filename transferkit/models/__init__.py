"""The fitted model, and the protocols for testing it.

May import: the modules beside the packages, `config`, `data`, `backbones`, `features`, `probes`.
"""
