"""Text lines cut out of pages, and the compiled file that holds them."""
