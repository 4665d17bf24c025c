"""Importers of other label formats, to StructuredDatasets.

A new format is one function ``Path -> Imported`` and one line in ``registry.IMPORTERS``; it reads labels and names
files, and writes nothing.
"""

from cogkp.data.keypoint.importers.registry import IMPORTERS, ImportResult, import_dataset

__all__ = ["IMPORTERS", "ImportResult", "import_dataset"]
