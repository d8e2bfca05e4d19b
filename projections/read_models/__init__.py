"""What a projection is; one file a read model; the registry; generations."""
