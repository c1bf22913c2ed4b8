"""`deepsynth generate`: corpora of texts to datasets of page images."""
