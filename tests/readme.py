"""Code that representations/README.md shows, so that tests run what users copy."""

from pathlib import Path

README = Path(__file__).resolve().parent.parent / "representations" / "README.md"


def own_representation() -> str:
    """Source of the third-party representation of the README, ``mine.py``."""
    return README.read_text().split("```python\n# mine.py\n", 1)[1].split("```", 1)[0].strip()
