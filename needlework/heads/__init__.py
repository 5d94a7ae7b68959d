"""Retrieval heads: their scores, the sets they form, how two models' heads compare."""
