"""Kinds of targets: one of several classes, several labels at once, numbers, ordered classes; a module for each.

May import: the modules beside the packages, `config`.
"""
