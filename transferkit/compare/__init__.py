"""Many runs beside each other.

May import: the modules beside the packages, `config`, `data`, `backbones`, `features`, `probes`, `models`,
`training`, `report`, `advisor`.
"""
