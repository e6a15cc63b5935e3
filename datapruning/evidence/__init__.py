"""Evidence: what training leaves behind, recorded once and read by many scorers."""
