"""The verbs of the command line, a module for each group; loaded only when they are used."""
