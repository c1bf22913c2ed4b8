"""DeepSynth: one job file takes documents to a fine-tuned, evaluated, published model."""

__version__ = "0.2.0"
