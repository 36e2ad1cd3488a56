"""t-SNE of real and generated features (Fig. 5, A45), and a mixing score.

A t-SNE map shows neighbourhoods, not distances, and depends on its seed.  The score is therefore computed from the
features, not from the map.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsgan_jax.evaluation.networks import FeatureNetwork
from tsgan_jax.evaluation.records import Record

PERPLEXITY = 30.0
NEIGHBOURS = 10
FEWEST = 5
"""Minimum number of images of each kind."""
MOST = 1000
"""Maximum number of images of each kind; more are slow and show no more."""


@dataclass(frozen=True)
class Embedding:
    """points: float32 [2 n, 2]; is_real: bool [2 n]; mixing: 1 for random mixing, 0 for separate kinds.

    unlike: the mean share of the other kind among the `neighbours` nearest in feature space.
    """

    points: NDArray[np.float32]
    is_real: NDArray[np.bool_]
    mixing: float
    unlike: float
    neighbours: int


def embed(real: NDArray, generated: NDArray, seed: int = 0) -> Embedding:
    """t-SNE of equal numbers of features [n, d] and [m, d], chosen by the seed; at least `FEWEST` of each."""
    count = min(len(real), len(generated), MOST)
    if count < FEWEST:
        raise ValueError(f"{len(real)} real and {len(generated)} generated images; t-SNE needs {FEWEST} of each")
    from sklearn.manifold import TSNE

    rng = np.random.default_rng(seed)
    parts = [features[np.sort(rng.permutation(len(features))[:count])] for features in (real, generated)]
    features = np.concatenate(parts).astype(np.float32)
    is_real = np.arange(2 * count) < count
    perplexity = min(PERPLEXITY, (2 * count - 1) / 3)
    points = TSNE(perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(features)
    unlike, neighbours = unlike_share(features, is_real)
    return Embedding(points.astype(np.float32), is_real, unlike * (2 * count - 1) / count, unlike, neighbours)


def unlike_share(features: NDArray, is_real: NDArray[np.bool_], neighbours: int = NEIGHBOURS) -> tuple[float, int]:
    """Mean share of the other kind among each feature's nearest neighbours, and the number of neighbours used.

    Random mixing gives m / (n + m - 1) for n of the same kind (with itself) and m of the other.
    """
    from sklearn.neighbors import NearestNeighbors

    neighbours = min(neighbours, len(features) - 1)
    found = NearestNeighbors(n_neighbors=neighbours).fit(features).kneighbors(return_distance=False)
    return float((is_real[found] != is_real[:, None]).mean()), neighbours


def draw_embedding(
    network: FeatureNetwork,
    real: NDArray,
    generated: NDArray,
    method: str,
    seed: int = 0,
    fold: int | None = None,
) -> tuple[Embedding | None, list[Record]]:
    """The embedding and one record of kind "embedding"; without an embedding the record has a reason."""
    metric = f"Mixing-{network.label}"
    made_from = {"network": network.label, "weights": network.file, "weights_sha256": network.sha256, "seed": seed}
    fewest = min(len(real), len(generated))
    if fewest < FEWEST:
        reason = f"{len(real)} real and {len(generated)} generated images; t-SNE needs {FEWEST} of each"
        record = Record("embedding", method, "full", metric, None, fewest, None, None, fold, reason, made_from)
        return None, [record]
    picture = embed(real, generated, seed)
    details = {"unlike_share": picture.unlike, "neighbours": picture.neighbours, "perplexity": PERPLEXITY}
    shown = int(picture.is_real.sum())
    record = Record(
        "embedding", method, "full", metric, picture.mixing, shown, fold=fold, made_from=made_from, details=details
    )
    return picture, [record]
