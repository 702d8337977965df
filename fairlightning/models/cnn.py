"""Small convolutional network for images."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from fairlightning.models.base import Outputs, check_sizes


class CNN(nn.Module):
    """Blocks of convolution, GroupNorm and pooling; its representation is the mean over places.

    GroupNorm, since it treats each image by itself and copies can be trained together in a
    `FrontModule`. For a larger backbone, say of torchvision, see `Wrapped`.

    Args:
        channels: Number of channels `C` of an image.
        widths: Channels after each block. Every block but the last halves height and width.
        dropout: Share of the representation dropped in training, in [0, 1).
        outputs: Outputs of a row: 1, or the number of several classes.

    Attributes:
        sizes: Number of features of `logits` and `representation`.

    Raises:
        ArgumentError: If there is no block, or a number is out of range.

    Shapes: images `(N, C, height, width)`, each side at least 2^(blocks − 1).

    >>> import torch
    >>> CNN(3)(torch.zeros(2, 3, 8, 8)).representation.shape
    torch.Size([2, 64])
    """

    def __init__(
        self,
        channels: int,
        widths: Sequence[int] = (16, 32, 64),
        dropout: float = 0.0,
        outputs: int = 1,
    ) -> None:
        super().__init__()
        check_sizes(
            outputs=outputs, dropout=dropout, channels=channels, widths=min(widths, default=0)
        )
        layers: list[nn.Module] = []
        for block, width in enumerate(widths):
            layers += [nn.MaxPool2d(2)] if block else []
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.GroupNorm(1, width), nn.ReLU()]
            channels = width
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.drop = nn.Dropout(dropout)
        self.output = nn.Linear(channels, outputs)
        self.sizes = {"logits": outputs, "representation": channels}

    def forward(self, inputs: Tensor) -> Outputs:
        """Compute logits `(N, C)` and representation `(N, H)` of images."""
        representation = self.drop(self.body(inputs))
        return Outputs(self.output(representation), representation)
