"""The verbs (train, evaluate, export, ...) as functions; nothing here parses arguments or prints."""
