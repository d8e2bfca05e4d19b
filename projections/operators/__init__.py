"""Dead letters, and operators' requests that a worker executes."""
