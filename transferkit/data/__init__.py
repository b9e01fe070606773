"""Images: sources, splits, preprocessing, augmentation, loading, checks.

May import: the modules beside the packages, `config`.
"""
