"""Stage 1, `make data`: public medical data in, ShareGPT rows for training and question sets for evaluation out."""
