"""The query routes."""
