"""Synthetic examples made from real ones: concept expression x context diversity, and symbolic."""
