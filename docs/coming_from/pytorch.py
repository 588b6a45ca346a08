"""PyTorch."""

import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1, bias=False),
    nn.BatchNorm2d(8),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(8, 16, 3, padding=1),
    nn.ReLU(),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Dropout(0.5),
    nn.Linear(16, 10),
)
opt = torch.optim.Adam(model.parameters(), lr=1e-3)


def step(x, y):
    model.train()
    opt.zero_grad()
    x = torch.as_tensor(x).permute(0, 3, 1, 2)  # NHWC -> NCHW
    loss = nn.functional.cross_entropy(model(x), torch.as_tensor(y))
    loss.backward()
    opt.step()
    return loss.item()


@torch.no_grad()
def predict(x):
    model.eval()
    return model(torch.as_tensor(x).permute(0, 3, 1, 2))


# --- weights ---


def to_phlox(model):
    w = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    return {
        "layers.0.weight": w["0.weight"].transpose(2, 3, 1, 0),  # (out, in, h, w) -> (h, w, in, out)
        "layers.1.scale": w["1.weight"],
        "layers.1.bias": w["1.bias"],
        "layers.1.mean": w["1.running_mean"],
        "layers.1.var": w["1.running_var"],
        "layers.3.weight": w["4.weight"].transpose(2, 3, 1, 0),
        "layers.3.bias": w["4.bias"],
        "layers.7.weight": w["9.weight"].T,  # (out, in) -> (in, out)
        "layers.7.bias": w["9.bias"],
    }
