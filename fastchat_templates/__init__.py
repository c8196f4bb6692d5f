"""Stage 3, `make serve`: the one chat template, and FastChat's four processes started with it."""
