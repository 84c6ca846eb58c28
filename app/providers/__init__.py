"""AI providers. Each one is a module or package that implements the protocol in `contract`."""
