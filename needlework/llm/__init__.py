"""The generator's client: completions from any OpenAI-compatible server, kept in a cache."""
