"""The same data, seen by an admin. It has no tables; deleting a person is its verb, because it reaches into every feature."""
