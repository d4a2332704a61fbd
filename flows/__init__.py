"""What comes after what, and the command line."""
