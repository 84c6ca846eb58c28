"""The library: generated and uploaded assets with their files and thumbnails."""
