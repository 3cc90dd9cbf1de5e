import pytest
from huggingface_hub import constants

from tests.caches.homes import SIBLINGS, Home, weights, write


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Caches of a test's own, in this process as well; the working folder holds the runs."""
    home = Home(tmp_path)
    for name, value in home.environment.items():
        monkeypatch.setenv(name, value)
    for name, value in (("HF_HOME", home.hugging_face), ("HF_HUB_CACHE", home.hub),
                        ("HF_XET_CACHE", home.hugging_face / "xet")):  # fmt: skip
        monkeypatch.setattr(constants, name, str(value))  # read when it was imported
    monkeypatch.chdir(tmp_path / "work")
    return home


@pytest.fixture
def siblings(home):
    """A home with models whose names resemble each other, and data sets."""
    for name in SIBLINGS:
        home.add(name, weights(3_000))
    home.add("a/data", {"x.csv": b"x"}, kind="dataset")
    write(home.hugging_face / "datasets" / "owner___data" / "default" / "0.0.0" / "dataset_info.json", 100)
    return home
