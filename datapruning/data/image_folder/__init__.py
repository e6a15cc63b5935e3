"""Folders of image files: listing, decoding, and the cache of decoded images."""
