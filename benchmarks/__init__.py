"""Speed and memory compared with PyTorch: `bin/bench`.

`run` starts one process per backend and runs their steps alternately.  `peer_torch` and the two `torch_*`
modules are eager PyTorch networks and steps of the same shapes and the same mathematics, written
independently of tsgan_jax; they run in a separate environment and import only `serve` of this project.
`stylegan_step`, `dl_pix2pix_step` and `generation` use the training code of tsgan_jax.
"""
