"""Rebuilds read models, compares and swaps generations, and verifies read models."""
