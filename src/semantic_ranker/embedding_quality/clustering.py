"""Do texts of one label lie together? MTEB's protocol and names; the arithmetic is scikit-learn's."""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from semantic_ranker._extras import requires_extra
from semantic_ranker.embedding_quality.matrices import matrix, unit
from semantic_ranker.errors import EvaluationError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_EXPERIMENTS = 10
_MOST_SAMPLES = 16_384
_BATCH = 512
_SILHOUETTE_ROWS = 5000


def clustering_scores(
    vectors: ArrayLike, labels: Sequence[Hashable], *, experiments: int = _EXPERIMENTS, seed: int = 42
) -> dict[str, float]:
    """Cluster vectors into as many groups as there are labels and compare the two.

    As MTEB's ``AbsTaskClustering``: k-means in mini-batches of 512 on a sample drawn with replacement, ten times. The
    sample is as large as the set, at most 16,384. The silhouette is of the given labels, by cosine.

    Args:
        vectors: (n, dim).
        labels: One a vector, 2 different ones or more.
        experiments: How often.
        seed: Of samples and k-means; 42 is MTEB's.

    Returns:
        ``v_measure`` (0 to 1, the mean), ``v_measure_std``, ``silhouette_cosine`` (-1 to 1), and ``main_score``,
        which is the v-measure.

    Raises:
        EvaluationError: There is another number of labels than vectors, or fewer than 2 different ones, or no label
            occurs twice.
        ModuleNotFoundError: The extra ``report`` is not installed.
    """
    with requires_extra("report"):
        from sklearn.cluster import MiniBatchKMeans
        from sklearn.metrics import silhouette_score, v_measure_score
        from threadpoolctl import threadpool_limits

    found = matrix(vectors).astype(np.float32)
    classes = _codes(labels, len(found))
    model = MiniBatchKMeans(
        n_clusters=int(classes.max()) + 1, batch_size=_BATCH, init="k-means++", n_init=1, random_state=seed
    )
    chooser = random.Random(seed)
    values = []
    # Mini-batches are too small for several threads: on a busy machine their barriers take a hundred times longer.
    with threadpool_limits(limits=1):
        for _ in range(experiments):
            rows = chooser.choices(range(len(found)), k=min(len(found), _MOST_SAMPLES))
            values.append(v_measure_score(classes[rows], model.fit_predict(found[rows])))
    silhouette = silhouette_score(
        unit(found), classes, metric="cosine", sample_size=min(len(found), _SILHOUETTE_ROWS), random_state=seed
    )
    mean = float(np.mean(values))
    return {
        "v_measure": mean,
        "v_measure_std": float(np.std(values)),
        "silhouette_cosine": float(silhouette),
        "main_score": mean,
    }


def _codes(labels: Sequence[Hashable], count: int) -> NDArray[np.intp]:
    codes: dict[Hashable, int] = {}
    found = np.array([codes.setdefault(label, len(codes)) for label in labels], dtype=np.intp)
    if len(found) != count:
        raise EvaluationError(f"Expected one label a vector, got {len(found)} labels and {count} vectors.")
    if not 2 <= len(codes) < count:
        raise EvaluationError(
            f"Expected 2 different labels or more, and fewer than the {count} texts, got {len(codes)}."
        )
    return found
