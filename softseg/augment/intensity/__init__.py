"""Steps that change the values of the image and never the target."""

from softseg.augment.intensity.bias_field import BiasField
from softseg.augment.intensity.contrast_dropout import ContrastDropout
from softseg.augment.intensity.noise import Noise
from softseg.augment.intensity.resolution import Blur, LowResolution
from softseg.augment.intensity.step import IntensityStep
from softseg.augment.intensity.tone import Brightness, Contrast, Gamma

__all__ = [
    "BiasField",
    "Blur",
    "Brightness",
    "Contrast",
    "ContrastDropout",
    "Gamma",
    "IntensityStep",
    "LowResolution",
    "Noise",
]
