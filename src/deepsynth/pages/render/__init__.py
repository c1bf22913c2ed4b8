"""Text to page images, exactly as large as the vision encoder takes them."""
