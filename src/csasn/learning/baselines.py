"""The strong simple baseline: logistic regression on the frozen transformer's class token."""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from csasn.learning.features import FeatureCache
from csasn.learning.rows import FoldRows, LabelledRows
from csasn.learning.scoring import tuning_loss
from csasn.threads import one_thread

LOGISTIC_REGRESSION = "vit-logistic-regression"  # its name as a model
STRENGTHS = (1e-3, 1e-2, 3e-2, 1e-1)  # C of scikit-learn; the tuning loss chooses


@one_thread
def fit_logistic_regression(
    cache: FeatureCache, cohort: LabelledRows, rows: FoldRows, *, n_views: int
) -> dict[str, Tensor]:
    """Standardise, then a class-balanced multinomial regression; trained on every cached view, the
    strength chosen on the tuning rows read in `n_views` views.

    Rows whose class is unknown are left out. Returns weight (K, C) and bias (K,) with the standardisation folded
    in; a class absent from training has weight 0 and bias -30, a probability of nearly nothing.
    """
    train = rows.train[cohort.class_index[rows.train] >= 0]
    index = np.tile(cohort.class_index[train], cache.source.n_views)
    tokens = np.concatenate([_tokens(cache, cohort, train, view) for view in range(cache.source.n_views)])
    best: tuple[float, dict[str, Tensor]] | None = None
    for strength in STRENGTHS:
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=strength, class_weight="balanced", max_iter=5000)
        ).fit(tokens, index)
        folded = _folded(model, len(cohort.classes.names))
        read = read_logistic_regression(folded, cache, cohort, rows.tuning, n_views=n_views)
        loss = tuning_loss(read, cohort, rows.tuning)
        if best is None or loss < best[0]:
            best = (loss, folded)
    assert best is not None  # noqa: S101 - STRENGTHS is not empty
    return best[1]


def read_logistic_regression(
    folded: dict[str, Tensor], cache: FeatureCache, cohort: LabelledRows, rows: np.ndarray, *, n_views: int
) -> Tensor:
    """Log-probabilities (len(rows), K), averaged over the first views and renormalised."""
    read = []
    for view in range(n_views):
        tokens = torch.from_numpy(_tokens(cache, cohort, rows, view))
        read.append((tokens @ folded["weight"].T + folded["bias"]).log_softmax(dim=1))
    return torch.stack(read).mean(dim=0).log_softmax(dim=1)


def _tokens(cache: FeatureCache, cohort: LabelledRows, rows: np.ndarray, view: int) -> np.ndarray:
    token = cache.read(cohort.store_rows[rows], np.full(len(rows), view)).token
    assert token is not None  # noqa: S101 - a transformer's cache always holds its class token
    return token.double().numpy()


def _folded(model: object, n_classes: int) -> dict[str, Tensor]:
    scaler, regression = model[0], model[1]  # type: ignore[index]
    weight, bias = np.zeros((n_classes, scaler.n_features_in_)), np.full(n_classes, -30.0)
    coefficients, intercepts = regression.coef_, regression.intercept_
    if len(regression.classes_) == 2:  # scikit-learn gives the second class alone
        coefficients, intercepts = np.vstack([-coefficients, coefficients]) / 2, np.append(-intercepts, intercepts) / 2
    weight[regression.classes_] = coefficients / scaler.scale_
    bias[regression.classes_] = intercepts - (coefficients / scaler.scale_) @ scaler.mean_
    return {"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)}
