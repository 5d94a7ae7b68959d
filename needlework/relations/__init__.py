"""The relations that templates cover: how each is recognised in a question, asked, and stated."""
