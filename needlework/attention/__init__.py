"""Attention from outside: rows of it, its queries, its layers, in any decoder, on stock backends.

The only room that touches attention internals, and only through transformers' attention interface.
"""
