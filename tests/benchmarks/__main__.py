"""Everything, one table: `python -m tests.benchmarks`."""

from tests.benchmarks import gateway, jobs, reading, signing_in, watching
from tests.benchmarks.figures import run

if __name__ == "__main__":
    run(
        *jobs.ALL,
        reading.watching,
        reading.shelving,
        gateway.passing,
        gateway.telling,
        signing_in.at_once,
        signing_in.again,
        watching.sampling,
        watching.counting,
    )
