"""Made-up sources, for the tests of editions and includes."""

HEAD = """---
jupytext:
  formats: ipynb,md:myst
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

"""
SMALL = (
    HEAD
    + """# Title

```{code-cell} ipython3
:tags: [chooser]

%load_ext d2l_utils.tab
```

```{code-cell} ipython3
:tags: [model]

%%tab pytorch, mxnet
x = 1
```

```{code-cell} ipython3
%%tab all
y = 2
```

For all. ![A figure.](img/f.svg)

:::{tab} jax
Only for JAX.
:::
"""
)
OTHER = (
    HEAD
    + """# Other

```{code-cell} ipython3
:tags: [model]

%%tab jax
def helper():
    return 1


class Net:
    pass
```

```{code-cell} ipython3
:tags: [model]

%%tab pytorch, mxnet, tensorflow
class Net:
    pass
```

```{code-cell} ipython3
:tags: [model]

%%tab all
other = 1
```

```{code-cell} ipython3
%%tab all
Net = 'not tagged'
```
"""
)
