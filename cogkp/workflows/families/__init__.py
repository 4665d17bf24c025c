"""One adapter for each model family; see :mod:`cogkp.workflows.adapter`."""
