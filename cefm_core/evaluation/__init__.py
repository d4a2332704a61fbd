"""How good the predictions are, with intervals, and what a shortcut already explains."""
