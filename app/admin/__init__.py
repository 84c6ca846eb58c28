"""Administration: views and changes across all users. It has no tables of its own."""
