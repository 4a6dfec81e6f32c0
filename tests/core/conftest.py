"""What was compiled, by name: a chain is 'run', and eager operations have names of their own."""

import pytest
from jax._src import compiler


@pytest.fixture
def compiled(monkeypatch):
  """The names of the programs that XLA was given since the test began."""
  names, real = [], compiler.compile_or_get_cached

  def noted(backend, module, *args, **kwargs):
    names.append(str(module.operation.attributes['sym_name']).strip('"').removeprefix('jit_'))
    return real(backend, module, *args, **kwargs)

  monkeypatch.setattr(compiler, 'compile_or_get_cached', noted)
  return names
