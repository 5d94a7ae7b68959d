"""Interventions on attention heads: what is done, to which heads, and the doing of it."""
