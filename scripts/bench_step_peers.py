"""The transforms of TorchIO, MONAI and batchgeneratorsv2 with the parameters of softseg's steps.

A peer without a transform for one of several steps leaves it out, which makes the peer faster.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from bench_peers import KEYS, monai_affine, monai_slices, torchio_affine, torchio_subjects
from torch import Tensor, int16

from softseg.augment import Affine, Elastic, Flip, RandomStep

Works = dict[str, Callable[[], object]]  # side -> augmentation of a batch
Shape = tuple[int, ...]
# standard deviation of a Gaussian that is as wide as a cubic B-spline with nodes 1 apart
_SPLINE_STD = 3**-0.5


def torchio_works(steps: Sequence[RandomStep], image: Tensor, target: Tensor) -> Works:
    """Return the work of TorchIO; none if it has none of the steps."""
    import torchio

    shape = tuple(image.shape[2:])
    transforms = [torchio_step(step, shape) for step in steps]
    if not any(transforms):
        return {}
    chain = torchio.Compose([transform for transform in transforms if transform])
    subjects = torchio_subjects(image, target)
    return {"torchio": lambda: [chain(subject) for subject in subjects]}


def torchio_step(step: RandomStep, shape: Shape) -> Any:
    """Return TorchIO's transform; None if it has none for the step.

    Its gamma cannot invert the image, and its low resolution is along one axis.
    """
    import torchio

    p = step.probability * getattr(step, "probability_per_contrast", 1)
    axes = tuple(range(len(shape)))
    match step.name:
        case "affine":
            return torchio_affine(step, *shape)
        case "elastic":
            return _torchio_elastic(step, shape)
        case "flip":
            return torchio.RandomFlip(axes=step.axes, flip_probability=p)
        case "noise":
            return torchio.RandomNoise(std=step.std, p=p)
        case "blur":
            # a slice has one voxel along its last axis
            sigma = step.sigma * len(shape) + (0, 0) * (3 - len(shape))
            return torchio.RandomBlur(std=sigma, p=p)
        case "low_resolution":
            downsampling = tuple(1 / zoom for zoom in reversed(step.zoom))
            return torchio.RandomAnisotropy(axes=axes, downsampling=downsampling, p=p)
        case "gamma":
            limits = tuple(math.log(exponent) for exponent in step.exponent)
            return torchio.RandomGamma(log_gamma=limits, p=p)
        case "bias_field":
            return torchio.RandomBiasField(coefficients=step.strength[1], order=step.order, p=p)
    return None


def _torchio_elastic(step: Elastic, shape: Shape) -> Any:
    """Return TorchIO's elastic deformation, with control points as far apart on average."""
    import torchio

    apart = sum(step.scale) / 2
    nodes = [max(4, round(size / apart) + 3) for size in shape] + [4] * (3 - len(shape))
    largest = [step.magnitude[1]] * len(shape) + [0] * (3 - len(shape))
    return torchio.RandomElasticDeformation(
        num_control_points=tuple(nodes),
        max_displacement=tuple(largest),
        locked_borders=0,
        label_interpolation="linear",
        p=step.probability,
    )


def monai_works(steps: Sequence[RandomStep], image: Tensor, target: Tensor) -> Works:
    """Return the work of MONAI, without metadata, which is faster."""
    from monai.data import set_track_meta
    from monai.transforms import Compose

    set_track_meta(False)
    shape = tuple(image.shape[2:])
    chain = Compose([transform for step in steps for transform in monai_step(step, shape)])
    samples = monai_slices(image, target)
    return {"monai": lambda: [chain(sample) for sample in samples]}


def monai_step(step: RandomStep, shape: Shape) -> list[Any]:
    """Return MONAI's transforms for a step."""
    import monai.transforms as monai

    keys = {"keys": KEYS[:1], "prob": step.probability}
    if hasattr(step, "probability_per_contrast"):
        keys["prob"] *= step.probability_per_contrast
    match step.name:
        case "affine":
            return [monai_affine(step, *shape)]
        case "elastic":
            return [_monai_elastic(step, shape)]
        case "flip":
            return [monai.RandFlipd(KEYS, step.probability, axis) for axis in step.axes]
        case "noise":
            return [monai.RandGaussianNoised(std=step.std[1], **keys)]
        case "blur":
            limits = {f"sigma_{axis}": step.sigma for axis in "xyz"}
            return [monai.RandGaussianSmoothd(**limits, **keys)]
        case "low_resolution":
            up = {2: "bilinear", 3: "trilinear"}[len(shape)]
            modes = {"downsample_mode": "nearest-exact", "upsample_mode": up}
            return [monai.RandSimulateLowResolutiond(zoom_range=step.zoom, **modes, **keys)]
        case "brightness":
            return [monai.RandScaleIntensityd(factors=_beyond_1(step.factor), **keys)]
        case "contrast":
            change = {"factors": _beyond_1(step.factor), "preserve_range": step.preserve_range}
            return [monai.RandScaleIntensityFixedMeand(**change, **keys)]
        case "gamma":
            how = {"invert_image": step.inverted, "retain_stats": step.retain_statistics}
            return [monai.RandAdjustContrastd(gamma=step.exponent, **how, **keys)]
        case "bias_field":
            limits = {"degree": step.order, "coeff_range": (-step.strength[1], step.strength[1])}
            return [monai.RandBiasFieldd(**limits, **keys)]
    raise ValueError(f"no transform of MONAI for {step.name}")


def _monai_elastic(step: Elastic, shape: Shape) -> Any:
    """Return MONAI's elastic deformation, as smooth; its magnitude does not affect its speed."""
    import monai.transforms as monai

    sampling = {"mode": "bilinear", "padding_mode": "zeros", "prob": step.probability}
    if len(shape) == 2:
        apart = sum(step.scale) / 2
        return monai.Rand2DElasticd(KEYS, (apart, apart), step.magnitude, **sampling)
    sigma = tuple(_SPLINE_STD * scale for scale in step.scale)
    return monai.Rand3DElasticd(KEYS, sigma, step.magnitude, **sampling)


def _beyond_1(factors: tuple[float, float]) -> tuple[float, ...]:
    """Return limits of factors as MONAI expects them, minus 1."""
    return tuple(factor - 1 for factor in factors)


def batchgenerators_works(steps: Sequence[RandomStep], image: Tensor, target: Tensor) -> Works:
    """Return the works of batchgeneratorsv2, with labels as in nnU-Net and with soft targets.

    No works if it has none of the steps. Samples are copied, as its transforms overwrite them.
    """
    from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms

    shape = tuple(image.shape[2:])
    spatial = [step for step in steps if isinstance(step, Affine | Elastic)]
    transforms = [_batchgenerators_spatial(spatial, shape)] if spatial else []
    transforms += [batchgenerators_step(step) for step in steps if step not in spatial]
    if not any(transforms):
        return {}
    chain = ComposeTransforms([transform for transform in transforms if transform])
    labels = (target > 0.5).to(int16)

    def augmented(kind: str, masks: Tensor) -> list[Any]:
        pairs = zip(image, masks, strict=True)
        return [chain(**{"image": pixels.clone(), kind: mask.clone()}) for pixels, mask in pairs]

    return {
        "batchgeneratorsv2": lambda: augmented("segmentation", labels),
        "batchgeneratorsv2, soft targets": lambda: augmented("regression_target", target),
    }


def batchgenerators_step(step: RandomStep) -> Any:
    """Return the transform of batchgeneratorsv2, as in nnU-Net; None if it has none."""
    from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
    from batchgeneratorsv2.transforms.utils.random import RandomTransform

    if isinstance(step, Flip):
        return MirrorTransform(allowed_axes=step.axes)
    transform = _batchgenerators_intensity(step)
    return transform and RandomTransform(transform, apply_probability=step.probability)


def _batchgenerators_spatial(steps: Sequence[RandomStep], shape: Shape) -> Any:
    """Return one transform for all affine steps and an elastic one; it interpolates once."""
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform

    options: dict[str, Any] = {}
    for step in steps:
        if isinstance(step, Elastic):
            options |= {
                "p_elastic_deform": step.probability,
                "elastic_deform_scale": tuple(_SPLINE_STD * s / shape[0] for s in step.scale),
                "elastic_deform_magnitude": step.magnitude,
            }
            continue
        if step.rotation:
            angle = math.radians(step.rotation)
            options |= {"p_rotation": step.probability, "rotation": (-angle, angle)}
        if step.scale or step.scale_range:
            limits = step.scale_range or (1 - step.scale, 1 + step.scale)
            options |= {"p_scaling": step.probability, "scaling": limits}
    return SpatialTransform(
        shape,
        patch_center_dist_from_border=0,
        random_crop=False,
        p_synchronize_scaling_across_axes=1,
        **options,
    )


def _batchgenerators_intensity(step: RandomStep) -> Any:
    """Return the transform of an intensity step that is always applied; None if it has none."""
    from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
    from batchgeneratorsv2.transforms.intensity.contrast import BGContrast, ContrastTransform
    from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
    from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
    from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
    from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform

    own = {
        "synchronize_channels": step.same_for_contrasts,
        "p_per_channel": step.probability_per_contrast,
    }
    match step.name:
        case "noise":  # what it calls a variance is a standard deviation
            return GaussianNoiseTransform(step.std, **own)
        case "blur":
            return GaussianBlurTransform(step.sigma, synchronize_axes=True, benchmark=True, **own)
        case "brightness":
            return MultiplicativeBrightnessTransform(BGContrast(step.factor), **own)
        case "contrast":
            return ContrastTransform(BGContrast(step.factor), step.preserve_range, **own)
        case "low_resolution":
            axes = {"synchronize_axes": True, "ignore_axes": None}
            return SimulateLowResolutionTransform(step.zoom, **axes, **own)
        case "gamma":
            how = {
                "p_invert_image": int(step.inverted),
                "p_retain_stats": int(step.retain_statistics),
            }
            return GammaTransform(BGContrast(step.exponent), **how, **own)
    return None


STEP_PEERS: dict[str, Callable[[Sequence[RandomStep], Tensor, Tensor], Works]] = {
    "torchio": torchio_works,
    "monai": monai_works,
    "batchgeneratorsv2": batchgenerators_works,
}
