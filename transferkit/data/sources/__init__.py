"""One module per kind of data source: a folder, a CSV table, torchvision's sets, digits, generated images.

May import: `data` and what that may import.
"""
