"""doctor: what of this installation is not as the service needs it, and what to do about it.

Reads only; each module asks one server, or this machine. May import the registry and status.
"""
