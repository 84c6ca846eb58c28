"""Everything, one table: `python -m tests.benchmarks`."""

from tests.benchmarks import jobs, signing_in, watching
from tests.benchmarks.figures import run

if __name__ == "__main__":
    run(*jobs.ALL, signing_in.at_once, signing_in.again, watching.sampling, watching.counting)
