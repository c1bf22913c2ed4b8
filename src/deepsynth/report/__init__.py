"""Pages for people: the base template, the style, curves and pictures that all of them share."""
