"""Examples as the tokens a model reads: prompts, lengths, the spans of needles."""
