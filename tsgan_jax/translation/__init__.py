"""Stage 2: CT from a six-class mask, by DL-Pix2Pix (section 3.3) and the methods it is compared with."""
