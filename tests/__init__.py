"""The tests mirror app/; beside them stand the laws, the journeys and the benchmarks."""
