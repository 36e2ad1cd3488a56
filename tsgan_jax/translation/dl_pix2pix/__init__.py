"""DL-Pix2Pix (section 3.3): pix2pix with LIA on the skips, DWMH at the bottleneck and a perceptual loss."""

from tsgan_jax.translation.dl_pix2pix.translator import dl_pix2pix

__all__ = ["dl_pix2pix"]
