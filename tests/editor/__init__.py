"""The inpainting editor."""
