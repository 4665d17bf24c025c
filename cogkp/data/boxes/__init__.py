"""Images with labelled 3-D boxes: readers of Objectron's format, data set, importers, checks and rendered scenes."""
