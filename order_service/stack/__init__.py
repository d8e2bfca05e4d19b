"""The stack on this machine: `up`, `test` and what goes with them. Standard library only.

It runs before any package is installed, so it imports nothing else, not even the rest of Order
Service; what it shares with that (the names of the settings, of the roles and of two queues) is
held together by tests.
"""
