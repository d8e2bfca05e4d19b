"""The projection type, one file a read model, the registry and the generations."""
