"""Features of frozen stages: extraction, the store, and cached training inputs.

May import: the modules beside the packages, `config`, `data`, `backbones`.
"""
