"""Ground truth: pages in ALTO or PAGE XML with their images, read, checked and repaired."""
