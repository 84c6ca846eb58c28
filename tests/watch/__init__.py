"""What the program tells of itself, and how it stops."""
