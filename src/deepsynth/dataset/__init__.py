"""Datasets: reading tables, splits that never leak, shards and manifests."""
