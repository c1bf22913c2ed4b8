"""What the families share in evaluating: intervals and the report page."""
