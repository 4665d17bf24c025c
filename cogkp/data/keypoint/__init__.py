"""Images with labelled points: records, data sets, importers and a rendered recording."""
