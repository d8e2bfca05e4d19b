"""Reads of orders, lists and the board, without HTTP."""
