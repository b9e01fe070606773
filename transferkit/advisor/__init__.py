"""What a data set and a backbone say about each other, measured from one extraction."""
