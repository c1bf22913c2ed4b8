"""Everything that touches Kraken or its command line."""
