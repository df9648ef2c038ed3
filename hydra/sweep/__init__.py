"""Many runs: plans, searches, comparisons, and the folder that holds them."""
