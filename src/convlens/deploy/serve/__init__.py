"""The HTTP service: pictures in, labels out, on a network that is measured and warm before it says that it is ready.

A request passes `door` (who may ask), `bodies` (pictures out of a body, within limits), `batching` (the network, many
pictures at a time), and is answered by a route of `app`.
"""

from convlens.deploy.serve.settings import Settings

__all__ = ["Settings"]
