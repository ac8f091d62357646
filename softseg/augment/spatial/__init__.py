"""Steps that move image and target together, composed into one interpolation."""

from softseg.augment.spatial.affine import Affine
from softseg.augment.spatial.elastic import Elastic
from softseg.augment.spatial.flip import Flip
from softseg.augment.spatial.step import SpatialStep, move

__all__ = ["Affine", "Elastic", "Flip", "SpatialStep", "move"]
