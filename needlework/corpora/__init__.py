"""Where real text and questions come from: each module here is a function to `Example`s."""
