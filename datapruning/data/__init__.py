"""Where samples come from, the FFCV cache, the loaders and the views."""
