"""The documented verbs as functions; nothing here parses arguments or prints."""
