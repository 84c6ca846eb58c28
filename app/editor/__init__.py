"""The inpainting editor: a person marks what a model changes in an image, and each result is a new version of it. No tables."""
