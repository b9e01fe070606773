"""One module per kind of strategy, each a function from `Context` to `Fitted`, and their common parts.

May import: the modules beside the packages, `config`, `data`, `backbones`, `features`, `probes`, `models`,
`training`, `report`, `advisor`, `compare`.
"""
