"""A 2-D convolution that is as fast inside `lax.scan` on a CPU as outside it.

 (1) <y, g> with y[b, i, j] = sum_kl x[b, s i + k - p, s j + l - p] w[k, l] is linear in x, w and g:
     leaving one of them out gives three bilinear maps, each the transpose of the other two
 (2) y = forward(x, w)
 (3) x = forward(dilated g, w turned by 180 degrees, channels swapped)
 (4) w = forward(x with pixels and examples as its space and channels, g as a window of H x W)

XLA's CPU backend has one fast kernel, a channels-last forward convolution, and inside a loop it
does not rewrite the transposes into it (jax issue 12868: 20 and 85 times slower at 32 channels). So
there (3) and (4) are written as forward convolutions; elsewhere they are what `lax` makes of them.
One primitive, since its rules close on themselves: either mode differentiates it to any order.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

Array = jax.Array
SPEC = ('NHWC', 'HWIO', 'NHWC')


def conv(x: Array, w: Array, stride: int = 1) -> Array:
  """(1), x [B, H, W, I], w [k, l, I, O] with odd k and l, p = (k - 1) / 2 on both sides."""
  if w.shape[0] % 2 == 0 or w.shape[1] % 2 == 0:
    raise ValueError(f'conv pads windows of odd sides, not {w.shape[:2]}')
  if x.shape[3] != w.shape[2]:
    raise ValueError(f'conv of x {x.shape} with w {w.shape}: channels {x.shape[3]} != {w.shape[2]}')
  return form.bind(x, w, want='y', stride=stride, size=x.shape[1:3], window=w.shape[:2])


form = Primitive('conv_form')  # operands 'y': (x, w); 'x': (g, w); 'w': (x, g); perhaps all stacked


def result(a, b, *, want, stride, size, window):
  """The shape of what is left out in (1); a leading axis before the four is a stack of problems."""
  *stack, batch = a.shape[:-3]
  match want:
    case 'y':
      shape = (batch, *((n - 1) // stride + 1 for n in size), b.shape[-1])
    case 'x':
      shape = (batch, *size, b.shape[-2])
    case 'w':
      shape = (*window, a.shape[-1], b.shape[-1])
  return jax.core.ShapedArray((*stack, *shape), a.dtype)


def forward(x, w, stride, window):
  pads = [((k - 1) // 2,) * 2 for k in window]
  return lax.conv_general_dilated(x, w, (stride, stride), pads, dimension_numbers=SPEC)


def by_transpose(a, b, *, want, stride, size, window):
  """(1) with lax's own transposes."""
  if want == 'y':
    return forward(a, b, stride, window)
  left = result(a, b, want=want, stride=stride, size=size, window=window)
  if want == 'x':
    pull = jax.linear_transpose(lambda x: forward(x, b, stride, window), left)
    return pull(a)[0]
  return jax.linear_transpose(lambda w: forward(a, w, stride, window), left)(b)[0]


def by_forward(a, b, *, want, stride, size, window):
  """(2), (3) or (4)."""
  if want == 'y':
    return forward(a, b, stride, window)
  g = a if want == 'x' else b
  low = [k // 2 for k in window]
  reach = [(n - 1) * stride + 1 for n in g.shape[1:3]]  # pixels that a dilated g spans
  wide = (stride, stride)
  if want == 'x':
    pads = [(p, p + n - r) for p, n, r in zip(low, size, reach, strict=True)]
    turned = lax.rev(b, (0, 1)).swapaxes(2, 3)
    return lax.conv_general_dilated(a, turned, (1, 1), pads, wide, dimension_numbers=SPEC)

  pads = [(p, k - 1 - p + r - n) for p, k, r, n in zip(low, window, reach, size, strict=True)]

  def pull(x, g):
    lhs, rhs = x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3)
    return lax.conv_general_dilated(
      lhs, rhs, (1, 1), pads, rhs_dilation=wide, dimension_numbers=SPEC
    ).transpose(1, 2, 0, 3)

  n = parts(g.shape[0], math.prod(g.shape[1:3]))
  # every n-th example, not n blocks: a batch that is sharded stays so
  xs, gs = (v.reshape(-1, n, *v.shape[1:]) for v in (a, b))
  return sum(pull(xs[:, i], gs[:, i]) for i in range(n))


def parts(batch: int, pixels: int) -> int:
  """In how many parts to sum (4): a window of more than 2^14 pixels leaves the cache, 2x slower."""
  able = [n for n in range(1, 17) if batch % n == 0]
  return next((n for n in able if batch // n * pixels <= 2**14), able[-1])


def on_cpu(a, b, **how):
  if a.ndim == 4:
    return by_forward(a, b, **how)
  return lax.map(lambda ab: by_forward(*ab, **how), (a, b))  # XLA's grouped convolutions are slow


def elsewhere(a, b, **how):
  if a.ndim == 4:
    return by_transpose(a, b, **how)
  return jax.vmap(lambda a, b: by_transpose(a, b, **how))(a, b)


def left(ct, a, b, *, want, **how):
  """The transpose in the first operand."""
  match want:
    case 'y':
      return form.bind(ct, b, want='x', **how)
    case 'x':
      return form.bind(ct, b, want='y', **how)
    case 'w':
      return form.bind(b, ct, want='x', **how)


def right(ct, a, b, *, want, **how):
  """The transpose in the second operand."""
  match want:
    case 'y':
      return form.bind(a, ct, want='w', **how)
    case 'x':
      return form.bind(ct, a, want='w', **how)
    case 'w':
      return form.bind(a, ct, want='y', **how)


def mapped(args, dims, **how):
  """vmap: examples join the batch where the window is shared, else problems are stacked."""
  n = next(v.shape[d] for v, d in zip(args, dims, strict=True) if d is not None)
  if dims[1] is None and how['want'] != 'w':
    a = jnp.moveaxis(args[0], dims[0], -5)  # [..., n, B, H, W, C]
    *stack, _, batch = a.shape[:-3]
    out = form.bind(a.reshape(*stack, n * batch, *a.shape[-3:]), args[1], **how)
    return out.reshape(*stack, n, batch, *out.shape[-3:]), len(stack)
  first = [
    jnp.broadcast_to(v, (n, *v.shape)) if d is None else jnp.moveaxis(v, d, 0)
    for v, d in zip(args, dims, strict=True)
  ]
  out = form.bind(*(v.reshape(-1, *v.shape[-4:]) for v in first), **how)
  return out.reshape(*first[0].shape[:-4], *out.shape[1:]), 0


form.def_abstract_eval(result)
form.def_impl(jax.jit(form.bind, static_argnames=('want', 'stride', 'size', 'window')))
ad.defbilinear(form, left, right)
batching.primitive_batchers[form] = mapped
mlir.register_lowering(form, mlir.lower_fun(elsewhere, multiple_results=False))
mlir.register_lowering(form, mlir.lower_fun(on_cpu, multiple_results=False), platform='cpu')
