"""Teachers: networks that are trained on all the data, and the cache of their soft labels."""
