import io

import numpy as np
from PIL import Image


def opened(page):
    """The page as the model gets it: decoded greys, checksums verified by the decoder."""
    image = Image.open(io.BytesIO(page))
    image.load()
    assert image.mode == "L"
    return np.asarray(image)


def ink_rows(page):
    return np.flatnonzero((opened(page) < 128).any(axis=1))


def ink_columns(page):
    return np.flatnonzero((opened(page) < 128).any(axis=0))
