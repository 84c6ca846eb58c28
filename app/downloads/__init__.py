"""Downloads of generated files with their prompt, model and settings inside, or without any metadata."""
