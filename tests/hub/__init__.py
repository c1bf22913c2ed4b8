"""Tests of the Hub layer, over real HTTP against the stand-in."""
