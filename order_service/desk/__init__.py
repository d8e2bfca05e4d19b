"""The operator's desk: the page at /desk."""
