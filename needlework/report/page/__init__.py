"""The page: one file that needs no other."""
