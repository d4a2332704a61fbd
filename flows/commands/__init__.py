"""What each `cefm` command does."""
