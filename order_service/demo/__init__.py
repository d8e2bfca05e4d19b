"""`demo`: a shop that lives, on a running service, through the HTTP API that everybody uses.

May import settings, errors and accounts; only its staff's account is made in the database, as
`create-user` makes it.
"""
