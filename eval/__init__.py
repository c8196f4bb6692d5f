"""Stage 4, `make eval`: lm-evaluation-harness tasks over the prepared question sets, and the report made from their results."""
