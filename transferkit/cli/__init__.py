"""The command line: one job, multirun, and one module per task with a `main(settings, run_dir)`.

May import: the modules beside the packages, `config`, `data`, `backbones`, `features`, `probes`, `models`,
`training`, `report`, `advisor`, `compare`, `strategies`.
"""
