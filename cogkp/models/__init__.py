"""Networks: plain torch modules with plain arguments; no configuration and no data is known here."""
