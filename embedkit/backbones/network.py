"""A frozen torch network as a backbone: one shape of batch, one thread a pass, float32."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from embedkit.backbones.cards import Card
from embedkit.backbones.preprocessing import Preprocessing
from embedkit.backbones.threads import one_thread
from embedkit.errors import BackboneError
from embedkit.vectors import FloatArray, Pixels, unit_rows

Read = Callable[[torch.Tensor], torch.Tensor]


class Network:
    """A torch network with the preprocessing of its authors.

    Every pass has the card's batch, the last one filled up with black, so that a picture has the
    same vector whatever else is in its batch.
    """

    def __init__(
        self,
        card: Card,
        module: torch.nn.Module,
        preprocessing: Preprocessing,
        weights_sha256: str,
        *,
        read: Read | None = None,
    ) -> None:
        """Freeze a network.

        Args:
            card: of the backbone; its width and preprocessing are filled in.
            module: gets ready for use whatever state it is in: eval mode, no gradients.
            preprocessing: what it wants to see.
            weights_sha256: of its file.
            read: from input (n, c, h, w) to vectors (n, d), if that is not `module` itself.

        Raises:
            BackboneError: it does not return one finite vector a picture.
        """
        self.preprocessing = preprocessing
        self.weights_sha256 = weights_sha256
        self.module = module.eval().to(memory_format=torch.channels_last)
        for parameter in self.module.parameters():  # a scripted module has no requires_grad_
            parameter.requires_grad_(False)
        self._read = read or module
        self._threads = torch.get_num_threads()
        self.card = replace(card, dimension=0, preprocessing=preprocessing.to_dict())
        channels = 1 if preprocessing.channels == "L" else 3
        probe = np.full((2, *preprocessing.size, channels), 127, np.uint8)
        self.card = replace(self.card, dimension=self._run(probe).shape[1])

    def prepare(self, pixels: Pixels) -> npt.NDArray[Any]:
        """Return the network's input, (h, w, c) uint8; see `Preprocessing.prepare`."""
        return self.preprocessing.prepare(pixels)

    def embed(self, inputs: npt.NDArray[Any]) -> FloatArray:
        """Return unit rows, (n, d); see `Backbone.embed`."""
        batch = np.zeros((self.card.batch, *inputs.shape[1:]), np.uint8)
        batch[: len(inputs)] = inputs
        return unit_rows(self._run(batch)[: len(inputs)])

    def _run(self, batch: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        with one_thread(self._threads), torch.inference_mode():
            rows: Any = self._read(self.preprocessing.normalise(batch))
        if not isinstance(rows, torch.Tensor) or rows.shape[:1] != (len(batch),) or rows.ndim != 2:
            shape = tuple(rows.shape) if isinstance(rows, torch.Tensor) else type(rows).__name__
            raise BackboneError(
                f"{self.card.name} returned {shape} for {len(batch)} pictures, "
                f"({len(batch)}, d) expected"
            )
        if not torch.isfinite(rows).all():
            raise BackboneError(f"{self.card.name} returned values that are not finite")
        return rows.float().numpy()
