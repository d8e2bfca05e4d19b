"""The stack on this machine: `up`, `test` and the other words of the entry point.

It runs before any package is installed, so it imports the standard library only, not even the rest
of Order Service. It repeats the names of the settings, of the roles and of two queues; tests
compare them with the originals.
"""
