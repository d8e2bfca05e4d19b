"""`demo`: a shop that lives, on a running service, through the HTTP API that everybody uses."""
