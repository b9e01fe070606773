"""Inspecting a network: a row a layer, what training needs, activation and gradient statistics, comparisons.

May import: the modules beside the packages, `config`, `data`, `backbones`, `features`, `models`, `training`, `report`.
"""
