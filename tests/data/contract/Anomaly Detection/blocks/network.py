"""A network as users of the original system have it: a class in a module of the folder that is staged."""

import torch


class Network(torch.nn.Module):
    """Estimates a redshift from an image and its magnitudes."""

    def __init__(self):
        super().__init__()
        self.features = torch.nn.Sequential(torch.nn.Conv2d(5, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1))
        self.head = torch.nn.Linear(4 + 5, 1)

    def forward(self, image, magnitude):
        light = self.features(image).flatten(1)
        return self.head(torch.cat([light, magnitude.float()], dim=1)).squeeze(1)
