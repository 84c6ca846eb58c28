"""Numbers of bytes as text. A kB has 1024 bytes and a MB 1024 kB, as in the settings."""


def format_size(count: int) -> str:
    """`999 B`, `1.5 kB`, `10 MB`, `2.3 GB`."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1024:
            return f"{round(value, 1):g} {unit}"
        value /= 1024
    return f"{round(value, 1):g} GB"
