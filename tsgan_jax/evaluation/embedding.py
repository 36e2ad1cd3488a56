"""t-SNE of real and generated features (Fig. 5, A45), and a mixing score.

A t-SNE map shows neighbourhoods, not distances, and depends on its seed.  The score is therefore computed from the
features, not from the map.
"""

from functools import partial

import numpy as np
from numpy.typing import NDArray
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors

from tsgan_jax.evaluation.networks import FeatureNetwork
from tsgan_jax.evaluation.records import MakeRecord, Record

PERPLEXITY = 30.0
NEIGHBOURS = 10
FEWEST = 5
"""Minimum number of images of each kind."""
MOST = 1000
"""Maximum number of images of each kind; more are slow and show no more."""


def measure_mixing(
    record: MakeRecord, network: FeatureNetwork, real: NDArray, generated: NDArray, seed: int = 0
) -> tuple[dict[str, NDArray], Record]:
    """The map, and the mixing score, 1 for random mixing, 0 for separate kinds.

    real, generated: features [n, d] and [m, d]; equal numbers of them are chosen by the seed.  The map has "points"
    float32 [2 k, 2] and "is_real" bool [2 k].  With fewer than `FEWEST` of a kind it is empty and the record has a
    reason.
    """
    count = min(len(real), len(generated), MOST)
    made_from = {"network": network.label, "weights": network.file, "weights_sha256": network.sha256, "seed": seed}
    record = partial(record, "full", f"Mixing-{network.label}", n=count, made_from=made_from)
    if count < FEWEST:
        reason = f"{len(real)} real and {len(generated)} generated images; t-SNE needs {FEWEST} of each"
        return {}, record(value=None, reason=reason)
    rng = np.random.default_rng(seed)
    parts = [features[np.sort(rng.permutation(len(features))[:count])] for features in (real, generated)]
    features = np.concatenate(parts).astype(np.float32)
    is_real = np.arange(2 * count) < count
    perplexity = min(PERPLEXITY, (2 * count - 1) / 3)
    points = TSNE(perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(features)
    unlike, neighbours = unlike_share(features, is_real)
    details = {"unlike_share": unlike, "neighbours": neighbours, "perplexity": PERPLEXITY}
    arrays = {"points": points.astype(np.float32), "is_real": is_real}
    return arrays, record(value=unlike * (2 * count - 1) / count, details=details)


def unlike_share(features: NDArray, is_real: NDArray[np.bool_], neighbours: int = NEIGHBOURS) -> tuple[float, int]:
    """Mean share of the other kind among each feature's nearest neighbours, and the number of neighbours used.

    Random mixing gives m / (n + m - 1) for n of the same kind (with itself) and m of the other.
    """
    neighbours = min(neighbours, len(features) - 1)
    found = NearestNeighbors(n_neighbors=neighbours).fit(features).kneighbors(return_distance=False)
    return float((is_real[found] != is_real[:, None]).mean()), neighbours
