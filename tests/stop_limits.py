"""Atelier with other limits for its stop, so that tests of the stop do not depend on how fast the machine is:

    python -m tests.stop_limits GRACE LIMIT

GRACE is the number of seconds that work in progress may take to come to rest; the process ends itself after LIMIT seconds.
"""

import sys

import app.__main__
import app.main
import app.web.server


def main() -> int:
    grace, limit = float(sys.argv[1]), int(sys.argv[2])
    for module, name, value in (
        (app.main, "DRAIN_TIMEOUT", grace),
        (app.__main__, "SHUTDOWN_TIMEOUT", limit),
        (app.web.server, "SHUTDOWN_TIMEOUT", 60),
    ):
        assert hasattr(module, name)
        setattr(module, name, value)
    return app.__main__.main([])


if __name__ == "__main__":
    sys.exit(main())
