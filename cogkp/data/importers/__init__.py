"""Foreign label files become StructuredDatasets; one module per format."""
