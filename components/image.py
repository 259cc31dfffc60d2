"""Images of the components. A cluster's overlay replaces them by digests."""

RUNNER = "dgr-runner:0.1.0-python3.11"
TRAIN = "dgr-train:0.1.0-python3.11"
