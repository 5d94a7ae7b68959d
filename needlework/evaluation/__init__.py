"""Answers of a model to test examples, and how right they are."""
