"""Speed and memory beside PyTorch: `bin/bench`.

`run` starts one process per backend and lets them take steps in turn.  `peer_torch` and the two `torch_*`
modules are eager PyTorch networks and steps of the same shapes and the same mathematics, written apart from
tsgan_jax in the way PyTorch users write them; they run in an environment of their own and import nothing of
ours but `serve`.  `stylegan_step`, `dl_pix2pix_step` and `generation` build tsgan_jax's side from the code
that trains.
"""
