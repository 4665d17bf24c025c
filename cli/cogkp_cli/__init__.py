"""The typer shim: flags become one call of the library each."""
