"""The results of a run as tables, figures and a page.

May import: the modules beside the packages, `config`, `data`, `backbones`, `features`, `probes`, `models`, `training`.
"""
