"""The quadrant: its rules and their cases, what is measured, and what is chosen.

May import: the modules beside the packages, `config`, `data`, `backbones`, `features`, `probes`, `models`,
`training`, `report`.
"""
