"""What the language model is asked: templates, and the requests made of them."""
