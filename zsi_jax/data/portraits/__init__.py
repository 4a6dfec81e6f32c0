"""Drawn faces with every attribute known: a 3-D head, its skin, and a sampler of people."""

from zsi_jax.data.portraits.person import EMOTIONS as EMOTIONS
from zsi_jax.data.portraits.person import IDENTITY as IDENTITY
from zsi_jax.data.portraits.person import WORDS as WORDS
from zsi_jax.data.portraits.person import Person as Person
from zsi_jax.data.portraits.person import caption as caption
from zsi_jax.data.portraits.source import Portraits as Portraits
from zsi_jax.data.portraits.source import draw as draw
