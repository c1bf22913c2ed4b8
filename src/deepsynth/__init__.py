"""DeepSynth: one job file takes documents to a fine-tuned, evaluated, published model."""

__version__ = "0.2.0"

DISTRIBUTION = "deepsynth-studio"
"""Name of the package that is installed; `deepsynth` on the public index is a stranger's."""
