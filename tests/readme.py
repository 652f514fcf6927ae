"""Code that README shows, so that tests run what users copy."""

from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"


def own_representation() -> str:
    """The source of README's third-party representation, ``mine.py``."""
    return README.read_text().split("```python\n# mine.py\n", 1)[1].split("```", 1)[0].strip()
