"""The quadrant: measurements, rules, the cases they were calibrated on, and the decisions of strategy=auto.

May import: the modules beside the packages, `config`, `data`, `backbones`, `features`, `probes`, `models`,
`training`, `report`.
"""
