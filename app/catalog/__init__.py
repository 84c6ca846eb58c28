"""The AI models on offer: a cache of what the providers say, kept fresh by a loop."""
