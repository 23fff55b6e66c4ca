"""What is done to data before a network sees them: centred, scaled, decorrelated, whitened.

As in the notes of the course CS231n (neural networks, part 2): first a cloud in the plane, then images, in which a
few principal components hold most of the variance. All is fitted to training data alone.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from data.mnist import load_small
from options import parser, run

import nnx
from nnx.preprocessing import PCA, ZCA, Center, Standardize, Whiten

STEPS = {"centred": Center(), "standardised": Standardize(), "decorrelated": PCA(), "whitened": Whiten()}
COMPONENTS = (1, 5, 10, 20, 50, 100, 200)


def covariance(x: Any) -> Any:
    """The covariance of the columns, as a NumPy array."""
    return np.cov(nnx.to_numpy(x), rowvar=False)


def plane(device: nnx.Device, seed: int) -> dict[str, Any]:
    """A cloud of points after each step, and its covariance on paper."""
    rng = np.random.default_rng(seed)
    cloud = rng.normal(size=(500, 2)) @ [[1.6, 1.2], [0.0, 0.5]] + [2.0, 1.5]
    x = nnx.asarray(cloud.astype(np.float32), device=device)
    clouds = {"original": x, **{name: step.fit_transform(x) for name, step in STEPS.items()}}
    print(f"{'a cloud in the plane':22}{'mean':>16}{'variances':>18}{'covariance':>13}")
    for name, y in clouds.items():
        (a, b), c = nnx.to_numpy(y).mean(axis=0), covariance(y)
        print(f"  {name:20}{a:8.3f}{b:8.3f}{c[0, 0]:10.3f}{c[1, 1]:8.3f}{c[0, 1]:13.3f}")
    assert abs(covariance(clouds["decorrelated"])[0, 1]) < 1e-4, "principal components are uncorrelated"
    assert np.allclose(covariance(clouds["whitened"]), np.eye(2), atol=1e-3), "whitened data have unit covariance"
    return {name: nnx.to_numpy(y) for name, y in clouds.items()}


def images(device: nnx.Device, quick: bool) -> dict[str, Any]:
    """Digits, what is left of them in few components, and whitened ones."""
    mnist = load_small()
    train, test = (
        nnx.asarray(a[: 1000 if quick else None].reshape(-1, 784).astype(np.float32) / 255, device=device)
        for a in (mnist.train_images, mnist.test_images)
    )
    xp = nnx.namespace_of(train)
    pca = PCA().fit(train)
    shares = nnx.to_numpy(pca.ratio).cumsum()

    def reduced(x: Any, count: int) -> Any:
        """``x`` from its first components: the others are set to 0."""
        kept = xp.arange(pca.directions.shape[0], device=x.device) < count
        return pca.inverse(xp.where(kept, pca(x), 0.0))

    def lost(x: Any, y: Any) -> float:
        """The squared error of ``y``, as a share of the variance of ``x``."""
        return float(nnx.to_numpy(xp.sum((x - y) ** 2) / xp.sum((x - pca.mean) ** 2)))

    print(f"\n{train.shape[0]:,} digits of 784 pixels, and {test.shape[0]:,} fresh ones")
    print(f"{'components':>14}{'variance kept':>18}{'lost of fresh digits':>24}")
    for count in COMPONENTS:
        print(f"{count:14}{shares[count - 1]:18.1%}{lost(test, reduced(test, count)):24.1%}")
        assert abs(1 - shares[count - 1] - lost(train, reduced(train, count))) < 1e-3, "what is not kept is lost"
    most = PCA(0.95).fit(train).directions.shape[0]
    print(f"95 % of the variance are in {most} components, 1/{784 / most:.0f} of the pixels")
    return {
        "original": nnx.to_numpy(test),
        **{f"{count} components": nnx.to_numpy(reduced(test, count)) for count in (20, 50, 100)},
        "whitened (ZCA)": nnx.to_numpy(ZCA(epsilon=0.1).fit(train)(test)),
        "first components": nnx.to_numpy(pca.directions),
    }


def study(device: nnx.Device, options: argparse.Namespace) -> None:
    """Both, and a picture."""
    clouds, digits = plane(device, options.seed), images(device, options.quick)
    if options.plot:
        from charts import clouds_and_images

        clouds_and_images(options.plot, clouds, digits, "Preprocessing")
        print(f"picture in {options.plot}")


if __name__ == "__main__":
    run(parser("What is done to data before a network sees them.", quick="1,000 digits in place of 10,000"), study)
