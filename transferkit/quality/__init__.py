"""Problems of the data themselves: duplicates, suspected label errors, outliers, odd images, classes.

May import: all packages but `cli`.
"""
