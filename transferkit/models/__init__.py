"""The fitted model that predicts, and the protocols that test it.

May import: the modules beside the packages, `config`, `data`, `backbones`, `features`, `probes`.
"""
