"""Records become samples, samples become batches; no model and no loss is known here."""
