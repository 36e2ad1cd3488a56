"""Stage 2: a six-class mask to CT (DL-Pix2Pix, and the methods it is compared with; paper section 3.3)."""
