"""Generation of sets with both stages: masks, the plausibility gate, CT, and the set on disk."""
