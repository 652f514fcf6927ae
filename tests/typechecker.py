"""The checker that ``tests/test_shapes.py`` puts behind annotations: beartype, where an int is a float, too."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
