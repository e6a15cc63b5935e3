"""Networks that learn CIFAR-sized images in minutes on a CPU: three groups of two 3x3 convolutions behind a whitening layer.

After airbench (Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU", sections 3.1 to 3.3): a fixed first layer
that decorrelates 2x2 patches of the training images, convolutions that begin as the identity, batch norms without a scale,
GELU, the maximum over each map, and a last layer without a bias.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, max_pool2d

PATCH = 2
"""Side of the patches that the first layer sees."""
MIN_VARIANCE = 5e-4
"""Added to the variances that the patches are divided by, so that directions of next to no variance are not blown up."""
BN_MOMENTUM = 0.4


class WhiteningConv(nn.Conv2d):
    """A 2x2 convolution whose fixed filters map image patches to uncorrelated values, once with each sign.

    Its weight is not trained, its bias is. Until `whiten` was called the filters are the patches' pixels. `whitened`: they
    came from a file, and stay as they are.
    """

    whitened = False

    def __init__(self, channels: int) -> None:
        size = channels * PATCH**2
        super().__init__(channels, 2 * size, PATCH)
        assert self.bias is not None
        self.weight.requires_grad = False
        nn.init.zeros_(self.bias)
        self._set_filters(torch.eye(size))

    @torch.no_grad()
    def whiten(self, batches: Iterable[Tensor]) -> None:
        """Set the filters to the eigenvectors of the patches' covariance over the root of their variance.

        Args:
            batches: Normalised images, float32 [n, channels, height, width] each. The sums are taken in float64 on the CPU,
                so that the filters do not depend on the device.
        """
        size = self.in_channels * PATCH**2
        products, count = torch.zeros(size, size, dtype=torch.float64), 0
        for images in batches:
            windows = images.cpu().double().unfold(2, PATCH, 1).unfold(3, PATCH, 1)  # [n, channels, y, x, 2, 2]
            patches = windows.permute(0, 2, 3, 1, 4, 5).reshape(-1, size)
            products += patches.T @ patches
            count += len(patches)
        variances, vectors = torch.linalg.eigh(products / count)
        largest = vectors.abs().argmax(0, keepdim=True)
        vectors = vectors * vectors.gather(0, largest).sign()  # either sign is an eigenvector: take one on every machine
        self._set_filters((vectors / (variances + MIN_VARIANCE).sqrt()).T)

    @torch.no_grad()
    def _set_filters(self, filters: Tensor) -> None:
        """`filters` [channels * 4, channels * 4], one a row."""
        self.weight.copy_(torch.cat([filters, -filters]).reshape(self.weight.shape))


class BiasNorm(nn.BatchNorm2d):
    """Batch norm with a learned bias and without a learned scale."""

    def __init__(self, width: int) -> None:
        super().__init__(width, momentum=BN_MOMENTUM)
        self.weight.requires_grad = False


class Group(nn.Module):
    """3x3 convolution, 2x2 maximum, norm, GELU, 3x3 convolution, norm, GELU.

    The convolutions begin as the identity, or with `identity` false at random, as torch draws them.
    """

    def __init__(self, inputs: int, outputs: int, *, identity: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm1 = BiasNorm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = BiasNorm(outputs)
        for conv in (self.conv1, self.conv2) if identity else ():
            nn.init.dirac_(conv.weight[: conv.in_channels].detach())

    def forward(self, maps: Tensor) -> Tensor:
        """[n, inputs, h, w] -> [n, outputs, h // 2, w // 2]; a map of one pixel a side keeps it."""
        maps = self.conv1(maps)
        if min(maps.shape[2:]) > 1:
            maps = max_pool2d(maps, 2)
        return gelu(self.norm2(self.conv2(gelu(self.norm1(maps)))))


class GlobalMax(nn.Module):
    """Maximum over height and width."""

    def forward(self, maps: Tensor) -> Tensor:
        """[n, c, h, w] -> [n, c]."""
        return maps.amax((2, 3))


def fastnet(channels: int, classes: int, *, width: int, identity: bool = True) -> nn.Module:
    """Groups of `width`, 2 * `width` and 2 * `width` channels; `width` 32 has 0.13 M weights at 10 classes.

    `identity`: convolutions begin as the identity. Most of their weights are then 0, which no saliency of a weight times a
    gradient can rank: networks that are pruned at their start begin at random instead.
    """
    first = WhiteningConv(channels)
    widths = ((first.out_channels, width), (width, 2 * width), (2 * width, 2 * width))
    groups = (Group(inputs, outputs, identity=identity) for inputs, outputs in widths)
    return nn.Sequential(first, nn.GELU(), *groups, GlobalMax(), nn.Linear(2 * width, classes, bias=False))
