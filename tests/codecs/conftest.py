import pytest

from makar.codecs.bpe import Bpe, train_bpe

POEM = """The moon is a ghostly galleon, tossed upon cloudy seas;
The road was a ribbon of moonlight over the purple moor.
Der Mond ist aufgegangen, die goldnen Sternlein prangen.
床前明月光 疑是地上霜 — 1609, 2024 and 31.5%
"""


@pytest.fixture(scope="session")
def bpe() -> Bpe:
    return train_bpe([POEM, POEM.upper(), "x = [1, 22]\n\n\n    return <|im_end|> x\r\n"] * 3, 600)
