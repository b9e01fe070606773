"""A local page on which a fitted model is tried: a picture in, its classes, heat map and nearest training images out.

May import: all packages but `cli`.
"""
