"""Many runs: plans and searches, the runner that measures their points, their records, and comparisons."""
