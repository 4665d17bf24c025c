"""The command line: flags become one call of the library each."""
