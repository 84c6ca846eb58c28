"""File storage: `files` stores files by content hash, `media` detects, checks and processes images and videos."""
