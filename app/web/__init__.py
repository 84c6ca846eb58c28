"""HTTP that knows no feature: rendering, errors, forms, headers."""
