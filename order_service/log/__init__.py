"""The event store: append, read one stream, read one partition. Rows never change."""
