"""The contract, called from outside: the whole program over HTTP, row by row."""
