"""The same examples in every run, on a machine of any speed, and nothing kept between runs."""

from hypothesis import settings

settings.register_profile("hydra", derandomize=True, deadline=None, database=None, max_examples=100)
settings.load_profile("hydra")
