"""What changed between two published versions, and whether a new one is still like the one before."""
