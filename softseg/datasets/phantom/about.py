"""What a phantom's README tells of its files."""

from __future__ import annotations

ABOUT = {
    "scgm": """
siteN-scNN-image.nii.gz      T2*-weighted look-alike of the cervical cord, int16
siteN-scNN-mask-rR.nii.gz    four simulated raters, uint8: 1 gray matter, 2 white matter
siteN-scNN-fraction.nii.gz   the truth, float32: share of each voxel that is gray matter, in [0, 1]

In-plane resolution: site 1 and 2 0.5 mm, site 3 0.3 mm, site 4 0.25 mm. Slices: 5, 4, 3.5, 2.5 mm.
The anatomy is an analytic shape; the fraction is its mean over 8 x 8 x 4 points of each voxel, and
the image mixes the tissues by their fractions. The raters displace the true edge smoothly, each in
its own way; at every site their gray matter's mean Dice with the majority of the four is 89 to
93 %.
""",
    "msseg2016": """
Below Center_CC/Patient_NN:
Preprocessed_Data/X_preprocessed.nii.gz  look-alikes of FLAIR, T1, T2, DP, GADO, int16, 0 outside
                                         the brain
Masks/Brain_Mask.nii.gz                  the brain, uint8
Masks/ManualSegmentation_R.nii.gz        seven simulated experts, uint8: 1 lesion
Masks/Consensus.nii.gz                   uint8: 1 where at least half of a voxel is lesion
Masks/Fraction.nii.gz                    the truth, float32: share of each voxel that is lesion, in
                                         [0, 1]

A slab of 30 mm of a brain at two thirds of its size, in about 80 to 110 x 110 to 140 voxels: of
1.1 x 0.78 x 0.78 mm at center 01, 1.25 x 1 x 1 mm at 07, 0.9 mm at 08 (right-left,
posterior-anterior, inferior-superior). A patient has 5 to 40 lesions of 3 to 3000 voxels. They are
analytic shapes; the fraction is their mean over 6 x 6 x 6 points of each voxel, and the images mix
tissues and lesions by their fractions. The experts displace the true edge smoothly, overlook small
lesions and take some faint spots for lesions; their mean Dice with the consensus is 69 to 77 %.
The consensus is better than a real one: it comes from the truth, not from the experts.
""",
    "brats2019": """
Below HGG and LGG (every fourth), in BraTS19_PHANTOM_NNN_1:
BraTS19_PHANTOM_NNN_1_X.nii.gz         look-alikes of flair, t1, t1ce, t2, int16, 0 outside the
                                       brain
BraTS19_PHANTOM_NNN_1_seg.nii.gz       uint8: 1 dead or solid core, 2 swollen, 4 enhancing
BraTS19_PHANTOM_NNN_1_fraction.nii.gz  the truth, float32: share of each voxel that is tumor core
                                       (1 and 4), in [0, 1]

A slab of 28 mm of a brain at two thirds of its size, in 96 x 112 x 28 voxels of 1 mm (BraTS has
240 x 240 x 155). HGG tumors have dead tissue within an enhancing rim, LGG ones a solid core
without; swollen tissue is about both. They are analytic shapes; the fraction is their mean over
6 x 6 x 6 points of each voxel, and the images mix tissues and tumor by their fractions. One mask
a subject, without a rater's errors.
""",
}
