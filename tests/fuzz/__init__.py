"""What comes from outside, damaged in ten thousand ways."""
