"""Tests of deepsynth."""
