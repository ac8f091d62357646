"""Each loss of ivadomed and its counterpart have the same gradient, by ivadomed's formulas."""

from __future__ import annotations

import pytest
import torch

from softseg import losses
from softseg.core.errors import UserError
from softseg.interop.from_ivadomed.convert import convert
from tests.support.ivadomed.published import changed, published, save

WING = {"theta": 0.5, "alpha": 2.1, "omega": 14, "epsilon": 1}


def adaptive_wing(p, y, theta=0.5, alpha=2.1, omega=14, epsilon=1):
    power, base = alpha - y, theta / epsilon
    slope = omega * power * base ** (power - 1) / epsilon / (1 + base**power)
    offset = theta * slope - omega * torch.log(1 + base**power)
    error = (y - p).abs()
    near = omega * torch.log(1 + (error / epsilon) ** power)
    return torch.where(error < theta, near, slope * error - offset).sum()


def dice(p, y, smooth=1.0):
    return -(2 * (p * y).sum() + smooth) / (p.sum() + y.sum() + smooth)


def focal(p, y, gamma=2, alpha=0.25):
    entropy = -(y * p.log() + (1 - y) * (1 - p).log())
    return ((alpha * y + (1 - alpha) * (1 - y)) * entropy * (1 - (-entropy).exp()) ** gamma).sum()


def tversky_index(p, y, alpha=0.7, beta=0.3, smooth=1.0):
    positive = (p * y).sum()
    wrong = alpha * ((1 - y) * p).sum() + beta * (y * (1 - p)).sum()
    return (positive + smooth) / (positive + wrong + smooth)


def focal_tversky(p, y, gamma=1.33, **others):
    return (1 - tversky_index(p, y, **others)) ** (1 / gamma)


THEIRS = {
    "AdapWingLoss": (adaptive_wing, {}),
    "AdapWingLoss, SoftSeg": (adaptive_wing, {"omega": 8, "theta": 0.4, "alpha": 2.2}),
    "DiceLoss": (dice, {}),
    "DiceLoss, smooth": (dice, {"smooth": 5}),
    "MultiClassDiceLoss": (dice, {}),
    "BinaryCrossEntropyLoss": (torch.nn.functional.binary_cross_entropy, {}),
    "FocalLoss": (focal, {}),
    "FocalLoss, others": (focal, {"gamma": 1, "alpha": 0.6}),
    "TverskyLoss": (lambda p, y, **more: -tversky_index(p, y, **more), {}),
    "TverskyLoss, others": (
        lambda p, y, **more: -tversky_index(p, y, **more),
        {"alpha": 0.2, "beta": 0.9, "smooth": 3},
    ),
    "FocalTverskyLoss": (focal_tversky, {}),
    "L2loss": (lambda p, y: ((p - y) ** 2).sum(), {}),  # twice theirs, no difference to Adam
    "LossCombination": (
        lambda p, y, **_: dice(p, y) + focal(p, y, gamma=1),
        {"losses_list": ["DiceLoss", "FocalLoss"], "params_list": [None, {"gamma": 1}]},
    ),
}


@pytest.fixture
def loss(tmp_path):
    def run(**spec):
        config = changed(published("ms"), training_parameters__loss=spec)
        conversion = convert(save(config, tmp_path))
        return losses.build(conversion.yaml["loss"]), conversion

    return run


@pytest.mark.parametrize("name", THEIRS)
def test_a_converted_loss_has_the_gradient_of_ivadomeds_loss(name, loss):
    theirs, parameters = THEIRS[name]
    ours, _ = loss(name=name.split(",")[0], **parameters)
    generator = torch.Generator().manual_seed(0)
    shape = (3, 1, 8, 8)
    target = torch.rand(shape, generator=generator, dtype=torch.float64)
    prediction = 0.05 + 0.9 * torch.rand(shape, generator=generator, dtype=torch.float64)
    gradients = []
    for function in (lambda p: theirs(p, target, **parameters), lambda p: ours(p, target)):
        leaf = prediction.clone().requires_grad_()
        function(leaf).backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-5, atol=1e-8)


def test_a_loss_without_counterpart_is_replaced_with_a_reason(loss):
    ours, conversion = loss(name="FocalDiceLoss", beta=0.5, gamma=1, alpha=0.3)
    assert ours.name == "combination"
    assert "softseg does not have" in conversion.left_out["training_parameters.loss.name"]


def test_the_generalized_dice_is_noted_as_nearly_the_same(loss):
    ours, conversion = loss(name="GeneralizedDiceLoss", epsilon=1e-4, include_background=False)
    assert (ours.name, ours.background) == ("generalized_dice", False)
    assert "nearly" in conversion.notes["loss", "name"]
    assert "training_parameters.loss.epsilon" in conversion.left_out


def test_an_unknown_loss_is_rejected_with_the_similar_name(loss):
    with pytest.raises(UserError, match=r"no loss 'AdaptWingLoss' \(did you mean 'AdapWingLoss'"):
        loss(name="AdaptWingLoss")


def test_a_parameter_that_the_loss_does_not_take_is_reported_as_unknown(loss):
    _, conversion = loss(name="DiceLoss", omega=8)
    assert conversion.warnings["training_parameters.loss.omega"].startswith("unknown")
