"""The tests mirror app/, with the architecture rules, browser journeys, crash tests and benchmarks beside them."""
