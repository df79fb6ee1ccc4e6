"""Random changes of the training images, a batch at a time, on the device, without a loop over samples.

Every random number is addressed by seed, epoch and batch number (the side of an alternating flip by seed, sample
and epoch), and drawn with NumPy on the host: the same address gives the same change on every device and after
every resume. Only noise is drawn on the device, where the same address gives the same bits on the same device.
The settings need no PyTorch; `augmenter.Augmenter`, which applies them, does.
"""

from convlens.data.augment.settings import Augmentation, AugmentSettings

__all__ = ["AugmentSettings", "Augmentation"]
