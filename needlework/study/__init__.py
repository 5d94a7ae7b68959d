"""The configuration of a study: strict models of every key, and what follows from them."""
