"""A pretrained network as an ordered sequence of named stages, and its weights.

May import: the modules beside the packages, `config`, `data`.
"""
