"""The built-in sample pools, drawn by code, and the small backbone pretrained for them."""
