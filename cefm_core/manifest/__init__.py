"""Which images there are, what is known of them, and which of them are for what."""
