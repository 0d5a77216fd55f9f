"""Someone else's networks: their code, what saves them, a survey to test them on, and what their exports say."""

import sys

import onnx

from factories import BANDS, SIDE, make_rows, write_partition

NETWORKS = f'''
import os
import torch
from torch import nn


class Base(nn.Module):
    """Shaped like AstroMAE: patches of the image, a branch for magnitudes, a number a row."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d({BANDS}, 4, 4, 4)
        self.norm = nn.BatchNorm2d(4)
        self.magnitudes = nn.Linear({BANDS}, 6)
        self.head = nn.Linear(10, 1)
        self.eval()

    def z(self, image, magnitude):
        features = self.norm(self.patches(image)).flatten(2).mean(2)
        return self.head(torch.cat([features, torch.relu(self.magnitudes(magnitude.float()))], dim=1))


class Listed(Base):
    def forward(self, inputs):
        print("a line that belongs into nobody's output")
        image, magnitude = inputs
        return self.z(image, magnitude)


class Arguments(Base):
    def forward(self, image, magnitude):
        return self.z(image, magnitude)


class Turned(Base):
    def forward(self, magnitude, image):
        return self.z(image, magnitude)


class Either(Base):
    def forward(self, first, second=None):
        if second is None:
            return self.z(*first)
        return 2 * self.z(first, second)


class ImageOnly(Base):
    def forward(self, x):
        return self.norm(self.patches(x)).flatten(1)


class Named(Base):
    def forward(self, image, magnitude):
        z = self.z(image, magnitude)
        return {{"z_phot": z, "pdf": torch.softmax(torch.cat([z, -z, 2 * z], dim=1), dim=1)}}


class Pair(Base):
    def forward(self, image, magnitude):
        z = self.z(image, magnitude)
        return z, z.abs()


class WithLoss(Base):
    def forward(self, image, magnitude):
        return self.z(image, magnitude), None


class Nothing(Base):
    def forward(self, image, magnitude):
        return ()


class Fails(Base):
    def forward(self, image, magnitude):
        raise RuntimeError("the weights are of another size")


class OneInAll(Base):
    def forward(self, image, magnitude):
        return self.z(image, magnitude).mean()


class Chancy(Base):
    def forward(self, image, magnitude):
        return nn.functional.dropout(self.z(image, magnitude), 0.5)


class Neighbours(Base):
    def forward(self, image, magnitude):
        z = self.z(image, magnitude)
        return z - z.mean()


class Branches(Base):
    def forward(self, image, magnitude):
        if image.abs().max() > 1e9:
            return self.z(image * 0, magnitude)
        return self.z(image, magnitude)


class RowByRow(Base):
    def forward(self, image, magnitude):
        return torch.cat([self.z(image[n : n + 1], magnitude[n : n + 1]) for n in range(len(image))])


class OutsideTorch(Base):
    def forward(self, image, magnitude):
        return self.z(image, magnitude) + torch.tensor([[sum(row)] for row in magnitude.tolist()])


class NoOperator(Base):
    def forward(self, image, magnitude):
        return torch.linalg.svdvals(image[:, 0])


class NotANumber(Base):
    def forward(self, image, magnitude):
        return self.z(image, magnitude) * float("nan")


class NanWhereFaint(Base):
    def forward(self, image, magnitude):
        z = self.z(image, magnitude)
        return torch.where(magnitude[:, :1] > 17, torch.full_like(z, float("nan")), z)


class OldCode(Base):
    def __setstate__(self, state):
        torch.no_such_function()

    def forward(self, image, magnitude):
        return self.z(image, magnitude)


class Ends(Base):
    def forward(self, image, magnitude):
        os._exit(7)
'''

MAKE = """
import sys, torch
from torch import nn
from ownmae import net
folder = sys.argv[1]
kinds = [value for value in vars(net).values() if isinstance(value, type) and issubclass(value, net.Base)]
for kind in kinds:
    torch.manual_seed(3)
    torch.save(nn.DataParallel(kind()), f"{folder}/{kind.__name__}.pt")
torch.save({"epoch": 3, "model": net.Arguments(), "optimizer": {}}, f"{folder}/dict.pt")
torch.save({"first": net.Arguments(), "second": net.Listed()}, f"{folder}/two.pt")
torch.save({"ema": net.Listed(), "model": net.Arguments(), "other": net.Listed()}, f"{folder}/several.pt")
torch.save(net.Arguments().state_dict(), f"{folder}/weights.pt")
torch.save({"epoch": 3, "state_dict": net.Arguments().state_dict()}, f"{folder}/nested.pt")
torch.save({"epoch": 3}, f"{folder}/nothing.pt")
net.Gone = type("Gone", (net.Base,), {"__module__": "ownmae.net"})
torch.save(net.Gone(), f"{folder}/Gone.pt")
"""

SHAPES = {"image": (BANDS, SIDE, SIDE), "magnitude": (BANDS,)}
GIVEN = ["--input", f"image={BANDS}x{SIDE}x{SIDE}", "--input", f"magnitude={BANDS}"]


def forget_code():
    for name in [name for name in sys.modules if name.startswith("ownmae")]:
        del sys.modules[name]


def survey(folder, **changes):
    """A survey of 40 rows, of which some columns are others."""
    path = folder / "rows.safetensors"
    write_partition(path, arrays=make_rows(40) | changes)
    return path


def metadata(path):
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}
