"""Initialisation from data: the whitening layer of a network is set from the images that it will be trained on."""

import numpy as np
from numpy.typing import NDArray
from torch import nn

from datapruning.data.augment.augmentation import Augmentation
from datapruning.data.loaders.loader import Loader
from datapruning.models.fastnet import WhiteningConv

MAX_IMAGES, BATCH_SIZE = 5000, 500


def initialize_from_images(model: nn.Module, loader: Loader, ids: NDArray[np.int64], views: Augmentation) -> None:
    """Set every whitening layer from at most 5,000 of the images, evenly spread, without augmentation.

    Args:
        model: Any network; one without such a layer, or whose weights came from a file, stays as it is.
        loader: Of the training split.
        ids: Int64 [n], the samples that the network is trained on: no other image is seen.
        views: Normalises the images.
    """
    layers = [module for module in model.modules() if isinstance(module, WhiteningConv) and not module.whitened]
    chosen = ids[:: -(-len(ids) // MAX_IMAGES)]
    batches = [chosen[start : start + BATCH_SIZE] for start in range(0, len(chosen), BATCH_SIZE)]
    for layer in layers:
        layer.whiten(views.normalise(batch.images) for batch in loader.read(batches))
