"""One module for each service that Atelier can ask, all behind the shape in `contract`."""
