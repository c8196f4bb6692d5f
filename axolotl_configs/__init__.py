"""Stage 2, `make train`: Axolotl configurations and the few scripts that act on them."""
