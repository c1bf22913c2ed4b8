"""Handwritten text recognition with Kraken: ground truth, training, scores, use."""
