"""The loop that people write: a DataLoader over the same network with the same read-out.

Usage: python plain_dataloader.py FOLDER OUT.npy
"""

import sys
from pathlib import Path

import numpy as np
import torch
from facenet_pytorch.models.mtcnn import ONet
from PIL import Image
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

SIZE = 80


class Pictures(Dataset):
    """All pictures below a folder, squashed and scaled to the network's input."""

    def __init__(self, folder: str) -> None:
        self.paths = sorted(p for p in Path(folder).rglob("*") if p.suffix in (".jpg", ".png"))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> torch.Tensor:
        image = Image.open(self.paths[place]).convert("RGB")
        small = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR), np.float32)
        return torch.from_numpy((small - 127.5) / 128).permute(2, 0, 1)


def read_out(net: ONet, x: torch.Tensor) -> torch.Tensor:
    x = net.pool1(net.prelu1(net.conv1(x)))
    x = net.pool2(net.prelu2(net.conv2(x)))
    third = net.pool3(net.prelu3(net.conv3(x)))
    fourth = net.prelu4(net.conv4(third))
    parts = functional.adaptive_avg_pool2d(third, 4), functional.adaptive_avg_pool2d(fourth, 2)
    return torch.cat([part.flatten(1) for part in parts], 1)


def main() -> None:
    net = ONet().eval()
    loader = DataLoader(Pictures(sys.argv[1]), batch_size=64, num_workers=2)
    with torch.inference_mode():
        rows = [(read_out(net, x) + read_out(net, x.flip(3))).numpy() for x in loader]
    vectors = np.concatenate(rows)
    np.save(sys.argv[2], vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    print(len(vectors))


if __name__ == "__main__":
    main()
