"""The table `problems.csv` of task=check, which `dataset.exclude` reads: its columns."""

HEADER = (
    *("kind", "split", "image", "label"),
    *("related_image", "related_split", "suggested_label", "score", "note"),
)
