"""What runs: resolve references, read, call one core function, write, return a reference."""
