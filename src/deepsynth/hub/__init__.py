"""The Hugging Face Hub: publishing and loading that survive its faults."""
