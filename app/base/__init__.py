"""Tools that know neither the web nor any feature."""
