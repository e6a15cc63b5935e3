"""Folders of image files: listing, decoding once, and the arrays that decoding leaves."""
