"""The product from end to end: a browser, a program, a kill."""
