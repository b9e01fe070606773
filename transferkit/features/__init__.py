"""Features of frozen stages: extracted once, kept in a store, and given to training as inputs.

May import: the modules beside the packages, `config`, `data`, `backbones`.
"""
