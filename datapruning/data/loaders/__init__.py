"""Loaders: batches of raw uint8 images, labels and ids, from FFCV, from a memory map or from memory."""
