"""The explorer: a store in the browser of the machine it lies on, and of no other."""
