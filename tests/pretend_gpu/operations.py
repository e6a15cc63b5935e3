"""Which operations of torch's dispatcher launch a kernel on a GPU, make the host wait, or take operands on the host."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


NO_KERNEL = _names(
    "view _unsafe_view expand permute transpose t unsqueeze squeeze select slice as_strided detach alias split "
    "split_with_sizes unbind unfold diagonal view_as _reshape_alias lift_fresh chunk narrow movedim "
    "empty empty_like empty_strided new_empty new_empty_strided"
)
"""Operations that launch nothing: views, and allocations."""
METADATA = _names(
    "_has_same_storage_numel is_contiguous is_strides_like_format is_non_overlapping_and_dense is_same_size size stride "
    "storage_offset dim numel sym_size sym_stride sym_numel sym_storage_offset sym_is_contiguous"
)
SYNCHRONIZING = _names(
    "_local_scalar_dense nonzero masked_select equal _unique2 unique_dim unique_consecutive bincount is_nonzero"
)
"""Operations whose result or its shape the host has to wait for."""
INDEXING = _names("index index_put index_put_ _index_put_impl_")
NO_HOST_SCALARS = _names(
    "cat stack mm addmm bmm baddbmm convolution index_select index_copy index_copy_ gather scatter scatter_ embedding"
)
"""Operations that refuse even a tensor without dimensions on the host; so do fused optimisers (`_fused_...`)."""

NOT_DETERMINISTIC = _names(
    "_adaptive_avg_pool2d_backward _adaptive_avg_pool3d_backward adaptive_max_pool2d_backward avg_pool3d_backward "
    "fractional_max_pool2d_backward max_unpool2d upsample_linear1d_backward upsample_bilinear2d_backward "
    "upsample_bicubic2d_backward upsample_trilinear3d_backward _upsample_bilinear2d_aa_backward reflection_pad1d_backward "
    "reflection_pad2d_backward nll_loss2d_forward _ctc_loss_backward _embedding_bag_dense_backward histc kthvalue "
    "grid_sampler_2d_backward"
)
"""Operations that CUDA refuses under `torch.use_deterministic_algorithms` (torch's documentation of it)."""


def synchronizes(func: Any, name: str, args: Any, kwargs: Any) -> bool:
    """Whether the host waits for the GPU in this call."""
    if name in INDEXING:  # a mask is turned into indices, whose number the host waits for
        return any(isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8) for index in args[1])
    if name == "repeat_interleave" and "self_int" not in str(func._overloadname):
        return kwargs.get("output_size") is None
    return name in SYNCHRONIZING


@cache
def is_composite(func: Any) -> bool:
    """Whether torch makes the operation of others."""
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"))
