"""The configuration: the Hydra groups composed, and checked before any work.

May import: the modules beside the packages.
"""
