"""MONAI's U-Net with Dice and cross-entropy, after MONAI's tutorials.

python monai_unet.py train SETTINGS.json MODEL.pt
python monai_unet.py predict SETTINGS.json MODEL.pt OUT SCAN...

SETTINGS.json: {"raw": folder in nnU-Net's raw format, "train": [cases], "patch": [pixels for each
axis of the network], "spacing": [mm; -1 keeps an axis], "epochs": number}
"""

import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai.data import CacheDataset, DataLoader, decollate_batch
from monai.inferers import SliceInferer, SlidingWindowInferer
from monai.losses import DiceCELoss
from monai.networks.layers import Norm
from monai.networks.nets import UNet
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    Invertd,
    LoadImaged,
    NormalizeIntensityd,
    Orientationd,
    RandAffined,
    RandCropByPosNegLabeld,
    RandScaleIntensityd,
    RandShiftIntensityd,
    Spacingd,
    SpatialPadd,
    SqueezeDimd,
)
from monai.utils import set_determinism


def unet(settings):
    return UNet(
        spatial_dims=len(settings["patch"]),
        in_channels=1,
        out_channels=2,
        channels=(16, 32, 64, 128, 256),
        strides=(2, 2, 2, 2),
        num_res_units=2,
        norm=Norm.BATCH,
    )


def prepared(settings, keys):
    modes = ("bilinear", "nearest")[: len(keys)]
    in_3d = [*settings["patch"], 1][:3]
    return [
        LoadImaged(keys),
        EnsureChannelFirstd(keys),
        Orientationd(keys, axcodes="RAS"),
        Spacingd(keys, pixdim=settings["spacing"], mode=modes),
        NormalizeIntensityd("image"),
        SpatialPadd(keys, spatial_size=in_3d),
    ]


def augmented(settings, keys):
    in_3d = [*settings["patch"], 1][:3]
    slices = [SqueezeDimd(keys, dim=-1)] if len(settings["patch"]) == 2 else []
    crop = {"spatial_size": in_3d, "pos": 1, "neg": 1}
    crop["num_samples"] = 4 if slices else 1  # of a scan; in 3D the patch holds all of it
    rotation = (np.pi / 15,) if slices else (np.pi / 15,) * 3
    return [
        RandCropByPosNegLabeld(keys, "label", **crop),
        *slices,
        RandAffined(
            keys,
            prob=1,
            rotate_range=rotation,
            scale_range=(0.1,) * len(settings["patch"]),
            mode=("bilinear", "nearest"),
        ),
        RandScaleIntensityd("image", factors=0.1, prob=1),
        RandShiftIntensityd("image", offsets=0.1, prob=1),
    ]


def train(settings, model):
    set_determinism(0)
    raw, keys = Path(settings["raw"]), ["image", "label"]
    files = [
        {"image": raw / f"imagesTr/{case}_0000.nii.gz", "label": raw / f"labelsTr/{case}.nii.gz"}
        for case in settings["train"]
    ]
    transform = Compose([*prepared(settings, keys), *augmented(settings, keys)])
    loader = DataLoader(CacheDataset(files, transform, progress=False), batch_size=2, shuffle=True)
    network, loss = unet(settings), DiceCELoss(to_onehot_y=True, softmax=True)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings["epochs"])
    for epoch in range(settings["epochs"]):
        total = 0.0
        for batch in loader:
            optimizer.zero_grad()
            value = loss(network(batch["image"]), batch["label"])
            value.backward()
            optimizer.step()
            total += value.item()
        schedule.step()
        print(f"epoch {epoch + 1}: loss {total / len(loader):.4f}", flush=True)
    torch.save(network.state_dict(), model)


def predict(settings, model, out, scans):
    network = unet(settings)
    network.load_state_dict(torch.load(model, weights_only=True))
    network.eval()
    transform = Compose(prepared(settings, ["image"]))
    inverse = Invertd("probability", transform, orig_keys="image", nearest_interp=False)
    window = {"roi_size": settings["patch"], "sw_batch_size": 4, "mode": "gaussian"}
    inferer = SlidingWindowInferer(**window)
    if len(settings["patch"]) == 2:
        inferer = SliceInferer(spatial_dim=2, **window)
    for scan in map(Path, scans):
        [batch] = DataLoader(CacheDataset([{"image": scan}], transform, progress=False))
        with torch.no_grad():
            batch["probability"] = inferer(batch["image"], network).softmax(1)
        [item] = map(inverse, decollate_batch(batch))
        soft = item["probability"][1].numpy().astype(np.float32)
        nib.save(nib.Nifti1Image(soft, nib.load(scan).affine), Path(out) / scan.name)


if __name__ == "__main__":
    torch.set_num_threads(1)
    task, settings, model, *rest = sys.argv[1:]
    settings = json.loads(Path(settings).read_text())
    train(settings, model) if task == "train" else predict(settings, model, rest[0], rest[1:])
