"""HTTP infrastructure shared by all features: rendering, errors, forms and headers."""
