"""Redis behind the version gate."""
