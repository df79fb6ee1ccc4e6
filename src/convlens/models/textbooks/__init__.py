"""Forms and misprints of textbooks, small baselines: what a text prints, beside the networks of the papers.

`convlens models --all` lists them, and `models.create` takes their names.
"""

from convlens.models.textbooks import alexnet, googlenet, inception, lenet, mlp, nin, resnet, simple, vgg

__all__ = ["alexnet", "googlenet", "inception", "lenet", "mlp", "nin", "resnet", "simple", "vgg"]
