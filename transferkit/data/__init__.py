"""Images and labels: where they come from, whether they can be read, and how they are split."""
