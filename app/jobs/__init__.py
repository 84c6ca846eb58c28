"""Generation jobs: the queue, the worker, and their API and pages."""
