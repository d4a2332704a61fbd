"""Reports written from a ledger of facts, and the check that they contradict none."""
