"""The job: one YAML file, read strictly; every key has its line, every value its origin."""
