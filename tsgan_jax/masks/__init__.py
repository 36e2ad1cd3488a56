"""Stage 1: noise to a six-class mask (StyleGAN v1; paper section 3.2)."""
