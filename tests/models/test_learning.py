"""Every network for small images fits one batch of 64 real images."""

import pytest
import torch
import torch.nn.functional as F

from convlens import models

SMALL = [n for n in models.names() if len(models.get(n).input) == 3 and models.get(n).input[1] <= 64]
FAST = {"lenet5", "lenet5_1998", "mlp", "baseline_cbapd", "resnet20_cifar"}
BATCH = {"go_policy": 4}  # all 64 images elsewhere
# networks of more than fifty layers: name -> images per step (64 where memory and time allow)
DEEP = {"resnet56_cifar": 64, "plain56_cifar": 64, "resnet110_cifar": 64, "resnet1202_cifar": 8,
        "preresnet110_cifar": 64, "preresnet164_cifar": 64, "densenet_bc_100_12_cifar": 32}  # fmt: skip
# Adam with 0.001 elsewhere. Saturating units, a ReLU behind the outputs, and many layers without norm under Glorot's
# small weights start slowly: on one fixed batch Rprop, which looks at signs alone, gets them going.
# Dropout all the way up drowns thirty steps in noise: it is off there.
QUIET = {"dropout": 0.0, "pool_dropout": 0.0}
SETTINGS = {
    "lenet5_cifar": ("Rprop", 0.01, {}),
    "lenet_avg_sigmoid": ("Rprop", 0.01, {}),
    "conv_syntax_demo_64": ("Rprop", 0.01, {}),
    "nin_cifar": ("Rprop", 0.0001, {"dropout": 0.0}),
    "vgg13_cifar": ("Rprop", 0.0001, {}),
    "vgg13_cifar_fc_256_64_10": ("Rprop", 0.0001, {}),
    "vgg13_cifar100_head": ("Rprop", 0.0001, {}),
    "vgg13_skip_cifar": ("Rprop", 0.0001, {}),
    "vgg16_bn_cifar": ("Adam", 0.001, QUIET),
    "vgg16_bn_cifar_literal_c7_512": ("Adam", 0.001, QUIET),
}


def thirty_losses(name, x, y):
    entry = models.get(name)
    torch.manual_seed(0)
    method, rate, arguments = SETTINGS.get(name, ("Adam", 0.001, {}))
    network = models.create(name, **arguments)
    if tuple(x.shape[2:]) != entry.input[1:]:
        x = F.interpolate(x, size=entry.input[1:], mode="bilinear", antialias=True)
    x = x.repeat(1, -(-entry.input[0] // x.shape[1]), 1, 1)[:, : entry.input[0]].contiguous()
    if entry.num_classes == 1:  # a discriminator: the first five classes against the rest
        y, loss_of = (y < 5).float()[:, None], F.binary_cross_entropy_with_logits
    else:
        loss_of = F.cross_entropy
    optimizer = getattr(torch.optim, method)(network.parameters(), rate)
    losses = []
    for _ in range(30):
        loss = loss_of(network(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in SMALL if n not in DEEP]
)
def test_thirty_steps_halve_the_loss_on_one_batch(name, request):
    x, y = request.getfixturevalue("cifar64" if models.get(name).input[0] == 3 else "mnist64")
    step = 64 // BATCH.get(name, 64)
    losses = thirty_losses(name, x[::step], y[::step])
    assert all(loss == loss for loss in losses)  # no NaN
    assert losses[-1] <= 0.5 * losses[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", DEEP)
def test_thirty_steps_lower_the_loss_of_deep_networks(name, cifar64):
    x, y = (part[:: 64 // DEEP[name]] for part in cifar64)
    losses = thirty_losses(name, x, y)
    assert all(loss == loss for loss in losses)
    assert sum(losses[-5:]) / 5 <= 0.9 * sum(losses[:3]) / 3
