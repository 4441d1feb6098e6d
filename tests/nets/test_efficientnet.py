"""The same features as the package that the weights were published for."""

import torch

from makar.nets.efficientnet import HEAD, EfficientNetLite, published_names


def test_it_sees_what_the_published_network_sees():
    from efficientnet_lite_pytorch import EfficientNet

    torch.manual_seed(0)
    theirs, ours = EfficientNet.from_name("efficientnet-lite0").eval(), EfficientNetLite().eval()
    weights, names = theirs.state_dict(), published_names()
    for name, tensor in weights.items():  # fresh statistics are 0 and 1, and would hide one taken for another
        if tensor.is_floating_point() and "bn" in name:
            tensor.uniform_(0.5, 1.5)
    ours.load_state_dict({names[name]: tensor for name, tensor in weights.items() if name in names})
    assert set(weights) - set(names) == {"_fc.weight", "_fc.bias"}
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        found, wanted = ours(images), theirs.extract_features(images).mean((2, 3))
    assert found.shape == (2, HEAD)
    assert torch.allclose(found, wanted, atol=1e-5, rtol=1e-4)
    assert wanted.std() > 1e-3
