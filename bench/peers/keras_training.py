"""Keras `fit` as its tutorials show it, for an environment with Keras (TensorFlow) in it. Knows nothing of Convlens.

    python keras_training.py lenet5|resnet18 BATCH

Float32, Adam, NumPy arrays of noise, no augmentation. Prints "ready", then for each line on standard input, a number of
seconds, trains for as long and prints images per second.
"""

import os
import sys
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
from keras import layers


def lenet5() -> keras.Model:
    return keras.Sequential([
        layers.Input((28, 28, 1)),
        layers.Conv2D(6, 5, padding="same", activation="relu"), layers.MaxPool2D(),
        layers.Conv2D(16, 5, activation="relu"), layers.MaxPool2D(), layers.Flatten(),
        layers.Dense(120, activation="relu"), layers.Dense(84, activation="relu"), layers.Dense(10),
    ])  # fmt: skip


def resnet18() -> keras.Model:
    """For 32x32 images: He et al., 2016, with a 3x3 stem; 11,173,962 trainable parameters."""

    def conv(x, filters, kernel, stride=1):
        x = layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False)(x)
        return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)

    image = layers.Input((32, 32, 3))
    x = layers.ReLU()(conv(image, 64, 3))
    for filters, first in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for stride in (first, 1):
            short = x if stride == 1 and x.shape[-1] == filters else conv(x, filters, 1, stride)
            x = conv(layers.ReLU()(conv(x, filters, 3, stride)), filters, 3)
            x = layers.ReLU()(layers.Add()([x, short]))
    return keras.Model(image, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


class Clock(keras.callbacks.Callback):
    """Ends the training after some seconds, counted from the end of the first step."""

    def __init__(self, seconds: float):
        super().__init__()
        self.seconds, self.steps, self.began = seconds, -1, 0.0

    def on_train_batch_end(self, batch, logs=None) -> None:
        self.steps += 1
        now = time.perf_counter()
        if self.steps == 0:
            self.began = now
        self.elapsed = now - self.began
        if self.elapsed > self.seconds:
            self.model.stop_training = True


def main() -> None:
    name, batch = sys.argv[1], int(sys.argv[2])
    keras.utils.set_random_seed(0)
    model = {"lenet5": lenet5, "resnet18": resnet18}[name]()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    rng = np.random.default_rng(0)
    x = rng.random((8192, *model.input_shape[1:]), dtype=np.float32)
    y = rng.integers(0, 10, len(x))
    model.fit(x[: 3 * batch], y[: 3 * batch], batch_size=batch, verbose=0)
    weights = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    print(f"ready {weights} keras {keras.__version__} {keras.backend.backend()}", flush=True)
    for line in sys.stdin:
        clock = Clock(float(line))
        model.fit(x, y, batch_size=batch, epochs=10**6, verbose=0, callbacks=[clock])
        print(clock.steps * batch / clock.elapsed, flush=True)


if __name__ == "__main__":
    main()
