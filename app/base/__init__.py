"""Building blocks that know neither the web nor any feature."""
