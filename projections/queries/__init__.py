"""Reads without HTTP."""
