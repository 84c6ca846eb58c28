"""Everything that was made or uploaded: assets, their media and thumbnails."""
