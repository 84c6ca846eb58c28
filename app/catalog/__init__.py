"""The catalog of available AI models: a cache of the providers' model lists, refreshed by a background task."""
