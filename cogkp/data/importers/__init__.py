"""Foreign label files become StructuredDatasets.

``registry.import_dataset`` is the door. A new format is one function ``Path -> Imported`` and one line in
``registry.IMPORTERS``; it reads labels and names files, and writes nothing.
"""
