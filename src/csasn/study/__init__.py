"""Studies of many runs: one cohort, one split, many variants of the network."""
