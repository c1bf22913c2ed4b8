"""Text to page images: drawing, `deepsynth generate` and `preview`, shards with their proofs."""
