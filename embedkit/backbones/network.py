"""A frozen torch network as a backbone: one shape of batch, one thread a pass, float32 results."""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from embedkit.backbones.cards import Card
from embedkit.backbones.layers import divide, feature_maps, list_layers
from embedkit.backbones.places import Contributions, Layer
from embedkit.backbones.preprocessing import Preprocessing
from embedkit.backbones.threads import one_thread
from embedkit.errors import BackboneError
from embedkit.vectors import DoubleArray, FloatArray, Pixels, unit_rows

Read = Callable[[torch.Tensor], torch.Tensor]
CUDA_BATCH = 128


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
        vector: str = "",
    ) -> None:
        """Freeze a network.

        Args:
            card: of the backbone; its width and preprocessing are filled in.
            module: gets ready for use whatever state it is in: eval mode, no gradients.
            preprocessing: what it wants to see.
            weights_sha256: of its file.
            read: from input (n, c, h, w) to vectors (n, d), if that is not `module` itself.
            vector: layer that has the vector before the network itself normalises it, if it does.

        Raises:
            BackboneError: it does not return one finite vector a picture.
        """
        self.preprocessing = preprocessing
        self.weights_sha256 = weights_sha256
        self.device = torch.device("cpu")
        self.module = module.eval().to(memory_format=torch.channels_last)
        for parameter in self.module.parameters():  # a scripted module has no requires_grad_
            parameter.requires_grad_(False)
        self._read = read or module
        self._vector = vector
        self._halving = Lock()
        self._see: Read = self._scaled_and_read
        self._threads = torch.get_num_threads()
        self.card = replace(card, dimension=0, preprocessing=preprocessing.to_dict())
        self.card = replace(self.card, dimension=self._run(self._grey(2)).shape[1])

    def to(self, *, precision: str = "fp32", device: str = "cpu") -> None:
        """Move the network to a precision and a device, for good.

        Anything but fp32 takes the faster resampling too; see `Preprocessing.prepare_fast`.

        Args:
            precision: one of `PRECISIONS`.
            device: `cpu` or `cuda`.

        Raises:
            BackboneError: it cannot be computed so.
        """
        if getattr(self.module, "own_runtime", False):
            raise BackboneError(
                f"{self.card.name} runs in its own runtime, in fp32 on the processor"
            )
        runtime, _, kind = precision.rpartition("-")
        self.device = torch.device(device)
        try:
            if runtime:
                from embedkit.backbones.openvino_runtime import compiled

                read = self._read
                self._see = compiled(
                    lambda pictures: read(self.preprocessing.scale(pictures)),
                    torch.from_numpy(self._full(self.card.batch)),
                    kind,
                )
            else:
                self.module.to(self.device, torch.bfloat16 if kind == "bf16" else torch.float32)
            if precision != "fp32":
                preprocessing = self.card.preprocessing | {"resampling": "torch"}
                self.card = replace(self.card, precision=precision, preprocessing=preprocessing)
            if device == "cuda":
                # cuDNN rounds float32 to 19 bits unless told not to.
                torch.backends.cudnn.allow_tf32 = False
                self.card = replace(self.card, batch=CUDA_BATCH)
            self._run(self._grey(2))
        except (RuntimeError, TypeError) as error:
            first = str(error).splitlines()[0][:160]
            raise BackboneError(
                f"{self.card.name} cannot be computed in {precision} on {device}: {first}"
            ) from None

    def seeing(self, preprocessing: Preprocessing) -> "Network":
        """Return the same network, its pictures prepared otherwise; see `PreparedBackbone`.

        What was compiled has its preprocessing inside; the copy reads the network that it was
        compiled from.
        """
        other = copy(self)
        other.preprocessing = preprocessing
        other._see = other._scaled_and_read
        return other

    def prepare(self, pixels: Pixels) -> npt.NDArray[Any]:
        """Return the network's input, (h, w, c) uint8; see `Preprocessing.prepare`."""
        if self.card.precision == "fp32":
            return self.preprocessing.prepare(pixels)
        return self.preprocessing.prepare_fast(pixels)

    def embed(self, inputs: npt.NDArray[Any]) -> FloatArray:
        """Return unit rows, (n, d); see `Backbone.embed`."""
        return unit_rows(self.scores(inputs))

    def scores(self, inputs: npt.NDArray[Any]) -> FloatArray:
        """Return what the network returns, as it is: (n, d).

        Where the device has too little memory for the batch, it is halved, from then on.
        """
        while True:
            step = self.card.batch
            try:
                rows = [
                    self._pass(inputs[at : at + step], step) for at in range(0, len(inputs), step)
                ]
                return np.concatenate(rows)
            except torch.OutOfMemoryError:
                if step == 1:
                    raise BackboneError(
                        f"{self.card.name} does not fit into the memory of {self.device}, not even "
                        "with one picture at a time; use --device cpu"
                    ) from None
                torch.cuda.empty_cache()
                with self._halving:  # passes run side by side
                    if self.card.batch >= step:
                        self.card = replace(self.card, batch=step // 2)

    def layers(self) -> tuple[Layer, ...]:
        """See `LayeredBackbone`."""
        return list_layers(self.card.name, self.module, lambda: self._look(self._grey(1)))

    def activations(self, inputs: npt.NDArray[Any], names: Sequence[str]) -> dict[str, FloatArray]:
        """See `LayeredBackbone`."""
        return feature_maps(self.card.name, self.module, lambda: self._look(inputs[None]), names)

    def contributions(self, inputs: npt.NDArray[Any], weights: DoubleArray) -> Contributions:
        """See `LayeredBackbone`."""
        with one_thread(self._threads):
            x = self.preprocessing.normalise(inputs[None])
            return divide(self.card.name, self.module, self._read, x, weights, vector=self._vector)

    def _look(self, pictures: npt.NDArray[Any]) -> None:
        with one_thread(self._threads):
            self._read(self.preprocessing.normalise(pictures))

    def _pass(self, inputs: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
        batch = self._full(size)
        batch[: len(inputs)] = inputs
        return self._run(batch)[: len(inputs)]

    def _full(self, size: int) -> npt.NDArray[np.uint8]:
        return np.zeros((size, *self._grey(1).shape[1:]), np.uint8)

    def _grey(self, n: int) -> npt.NDArray[np.uint8]:
        channels = 1 if self.preprocessing.channels == "L" else 3
        return np.full((n, *self.preprocessing.size, channels), 127, np.uint8)

    def _scaled_and_read(self, pictures: torch.Tensor) -> torch.Tensor:
        x = self.preprocessing.scale(pictures)
        return self._read(x.bfloat16() if self.card.precision == "bf16" else x)

    def _run(self, batch: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        pictures = torch.from_numpy(batch)
        if self.device.type == "cuda":
            pictures = pictures.pin_memory().to(self.device, non_blocking=True)
        with one_thread(self._threads), torch.inference_mode():
            rows: Any = self._see(pictures)
        if not isinstance(rows, torch.Tensor) or rows.shape[:1] != (len(batch),) or rows.ndim != 2:
            shape = tuple(rows.shape) if isinstance(rows, torch.Tensor) else type(rows).__name__
            raise BackboneError(
                f"{self.card.name} returned {shape} for {len(batch)} pictures, "
                f"({len(batch)}, d) expected"
            )
        if not torch.isfinite(rows).all():
            raise BackboneError(f"{self.card.name} returned values that are not finite")
        return rows.float().cpu().numpy()
