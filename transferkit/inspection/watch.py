"""Watching one forward pass: a row for each layer, in the order in which they run.

Modules report where a layer begins and ends; torch's dispatcher reports every operation, so that sums, concatenations,
attention and activation functions that are no modules are seen, and receptive fields can be followed from tensor to
tensor. On the meta device nothing is computed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from transferkit.inspection.describe_layer import ACTIVATIONS, describe, is_activation, layers_in
from transferkit.inspection.follow_fields import JOINED, POOLED, PRODUCTS, field_after, is_feature
from transferkit.inspection.layers import Layer
from transferkit.inspection.receptive_field import ReceptiveField, of_image

OnLayer = Callable[[int, Tensor], None]
"""Called with the index of a row and its output, after the activation function."""

Seen = tuple[ReceptiveField, int]
"""Knowledge of a tensor: its receptive field, and the row that it comes from."""


def watch(
    parts: Mapping[str, nn.Module], inputs: Tensor, on_layer: OnLayer | None = None, gradient_up_to: str | None = None
) -> tuple[list[Layer], dict[str, Any]]:
    """Run a network once and describe its layers.

    Args:
        parts: Its stages by name, in order; each takes what the one before gives.
        inputs: Images (N, C, H, W); on the meta device, together with the network, only shapes are computed.
        on_layer: Is given every output.
        gradient_up_to: Stages up to this one run with a gradient; none if None.

    Returns:
        The rows, the first of which is the input; and the output of every stage.
    """
    counter = FlopCounterMode(display=False)
    watcher = _Watcher(inputs, on_layer, counter.get_total_flops)
    states: dict[str, Any] = {}
    state: Any = inputs
    gradient = gradient_up_to is not None
    with counter, _listening(watcher, parts):
        for stage, part in parts.items():
            watcher.stage = stage
            with nullcontext() if gradient else torch.no_grad():
                state = part(*state) if isinstance(state, tuple) else part(state)
            states[stage] = state
            gradient = gradient and stage != gradient_up_to
        watcher.finish(parts)
    return watcher.layers, states


class KnownTensors:
    """Receptive field and row of the tensors of a forward pass; views share those of the memory that they show."""

    def __init__(self) -> None:
        self._seen: dict[Any, Seen] = {}

    def remember(self, tensor: Tensor, seen: Seen) -> None:
        """Note what is known of a tensor."""
        exact, storage = _identities(tensor)
        self._seen[exact] = self._seen[storage] = seen

    def look_up(self, tensor: Tensor | None) -> Seen | None:
        """Return the record of a tensor; None without one."""
        if tensor is None:
            return None
        exact, storage = _identities(tensor)
        return self._seen.get(exact) or self._seen.get(storage)

    def forget(self, result: Any) -> None:
        """Forget the tensors of a result, whose memory may be used again."""
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                for identity in _identities(leaf):
                    self._seen.pop(identity, None)


class ParameterCounts:
    """Numbers of weights and biases; each parameter counts for the first row that has it."""

    def __init__(self) -> None:
        self._counted: set[int] = set()

    def of_layer(self, module: nn.Module) -> tuple[int, int]:
        """Weights and biases of a layer that no earlier row has."""
        counts = [0, 0]
        for name, parameter in module.named_parameters():
            if id(parameter) not in self._counted:
                self._counted.add(id(parameter))
                counts[name.endswith("bias")] += parameter.numel()
        return counts[0], counts[1]

    def rest(self, stage: str, part: nn.Module) -> Iterator[Layer]:
        """A row for each parameter of a stage that belongs to no layer (class tokens, embeddings)."""
        for name, parameter in part.named_parameters():
            if id(parameter) in self._counted:
                continue
            self._counted.add(id(parameter))
            bias, count, shape = name.endswith("bias"), parameter.numel(), tuple(parameter.shape)
            yield Layer(
                stage=stage,
                name=_plain(name),
                kind="parameter",
                output=shape,
                in_place=True,
                weights=0 if bias else count,
                biases=count if bias else 0,
            )


class _Watcher(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Collects the rows of one forward pass."""

    def __init__(self, inputs: Tensor, on_layer: OnLayer | None, flops: Callable[[], int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        _, channels, height, width = inputs.shape
        image = of_image(channels, (height, width))
        self.images = len(inputs)
        self.layers = [Layer("", "input", "input", (channels, height, width), field=image)]
        self.stage = ""
        self._known = KnownTensors()
        self._known.remember(inputs, (image, 0))
        self._on_layer, self._flops = on_layer, flops
        self._open: tuple[int, Tensor] | None = None  # the last row, whose activation function may still follow
        self._inside: str | None = None  # the layer that runs, if it is a module
        self._activation = ""  # found inside it
        self._parameters = ParameterCounts()
        self._paused = False

    def hook(self, path: str, module: nn.Module) -> Iterator[Any]:
        """Register the hooks by which this layer is noticed; yields their handles."""
        before = 0

        def begin(_: nn.Module, given: Any) -> None:
            nonlocal before
            if self._inside is None:
                if not is_activation(module):
                    self._close()
                self._inside, self._activation, before = path, "", self._flops()

        def end(_: nn.Module, given: tuple[Any, ...], output: Any) -> None:
            if self._inside != path:
                return
            self._inside = None
            taken = self._known.look_up(next((leaf for leaf in tree_leaves(given) if isinstance(leaf, Tensor)), None))
            output = next(leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor))
            if is_activation(module):
                self._activated(type(module).__name__, taken, output)
                return
            weights, biases = self._parameters.of_layer(module)
            self._add(
                output,
                name=path,
                **describe(module),
                activation=self._activation,
                weights=weights,
                biases=biases,
                multiply_adds=(self._flops() - before) // 2 // self.images,
            )

        yield module.register_forward_pre_hook(begin)
        yield module.register_forward_hook(end)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._paused:
            return func(*args, **kwargs)
        name = func.overloadpacket.__name__
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        known = [seen for tensor in tensors if (seen := self._known.look_up(tensor)) is not None]
        if not known:
            result = func(*args, **kwargs)
            self._known.forget(result)
            return result
        kind = "" if self._inside is not None else _operation_kind(name, known, tensors)
        if kind:
            self._close()
        before = self._flops()
        result = func(*args, **kwargs)
        output = next((leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)), None)
        if output is None:
            return result
        field = field_after(name, args, tensors, [seen[0] for seen in known], output, self.images)
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._known.remember(leaf, (field, known[0][1]))
        if name.rstrip("_") in ACTIVATIONS:
            self._activated(ACTIVATIONS[name.rstrip("_")], known[0], output)
        elif kind and self._inside is None:
            self._add_operation(kind, name, known, output, field, (self._flops() - before) // 2 // self.images)
        return result

    def _add_operation(
        self, kind: str, name: str, known: Sequence[Seen], output: Tensor, field: ReceptiveField, multiply_adds: int
    ) -> None:
        last = self.layers[-1]
        if kind in POOLED.values() and field.grid == known[0][0].grid:
            return  # a mean over channels, as in a norm, is no pooling
        if kind == "attention" and last.kind == "attention" and last.stage == self.stage:
            # Its two products: the second gives the result.
            known_row = len(self.layers) - 1
            merged = replace(last, output=_shape(output, self.images), multiply_adds=last.multiply_adds + multiply_adds)
            self.layers[-1] = replace(merged, field=field)
            self._known.remember(output, (field, known_row))
            self._open = (known_row, output)
            return
        block = _block([self.layers[row].name for _, row in sorted(known, key=lambda seen: seen[1])], kind)
        title = kind.replace(" ", "_")
        self._add(
            output,
            name=f"{block}.{title}" if block else title,
            kind=kind,
            multiply_adds=multiply_adds,
            in_place=name.endswith("_"),
        )

    def _add(self, output: Tensor, **entries: Any) -> None:
        seen = self._known.look_up(output)
        field = seen[0] if seen is not None else None
        self.layers.append(Layer(stage=self.stage, output=_shape(output, self.images), field=field, **entries))
        if field is not None:
            self._known.remember(output, (field, len(self.layers) - 1))
        self._open = (len(self.layers) - 1, output)

    def _activated(self, name: str, taken: Seen | None, output: Tensor) -> None:
        """Note the activation function of the row that its input comes from."""
        if self._inside is not None:
            self._activation = self._activation or name
        elif taken is not None and taken[1] > 0:
            row = self.layers[taken[1]]
            if row.kind == "attention":
                return  # its softmax
            self.layers[taken[1]] = replace(row, activation=row.activation or name)
            if self._open is not None and self._open[0] == taken[1]:
                self._open = (taken[1], output)

    def _close(self) -> None:
        """Hand over the output of the last row, before anything else can overwrite it."""
        if self._open is not None and self._on_layer is not None:
            self._paused = True
            try:
                self._on_layer(*self._open)
            finally:
                self._paused = False
        self._open = None

    def finish(self, parts: Mapping[str, nn.Module]) -> None:
        """Hand over the last row; add rows for parameters that belong to no layer (class tokens, embeddings)."""
        self._close()
        for stage, part in parts.items():
            self.layers += self._parameters.rest(stage, part)


@contextmanager
def _listening(watcher: _Watcher, parts: Mapping[str, nn.Module]) -> Iterator[None]:
    """Context in which the watcher notices every layer of these stages."""
    hooked: set[int] = set()
    with ExitStack() as stack, watcher:
        for part in parts.values():
            for path, module in layers_in(part):
                if id(module) not in hooked:
                    hooked.add(id(module))
                    for handle in watcher.hook(_plain(path), module):
                        stack.callback(handle.remove)
        yield


def _operation_kind(name: str, known: Sequence[Seen], tensors: Sequence[Tensor]) -> str:
    """The kind of row that an operation outside of any module is; empty if it is none."""
    plain = name.rstrip("_")
    if plain in JOINED and len(known) > 1 and is_feature(known[0][0], tensors[0]):
        return JOINED[plain]
    if plain in POOLED:
        return POOLED[plain]
    if plain in PRODUCTS or "attention" in plain:
        return "attention" if len(known) > 1 else PRODUCTS[plain]
    return ""


def _shape(output: Tensor, images: int) -> tuple[int, ...]:
    """Without the batch; windows of an image are counted in front."""
    windows = len(output) // images if output.ndim else 1
    return (windows, *output.shape[1:]) if windows > 1 else tuple(output.shape[1:])


def _identities(tensor: Tensor) -> tuple[Any, Any]:
    """Of a view, and of the memory that it shows."""
    storage = tensor.untyped_storage()._cdata
    return (storage, tensor.storage_offset(), tuple(tensor.shape), tensor.stride()), storage


def _block(names: Sequence[str], kind: str) -> str:
    """The block in which the outputs of these layers, in order, are joined."""
    parents = [name.rpartition(".")[0] for name in names]
    if kind == JOINED["cat"]:
        parts = [parent.split(".") for parent in parents]
        return ".".join(same[0] for same in takewhile(lambda column: len(set(column)) == 1, zip(*parts, strict=False)))
    around = [parent for parent in parents if f"{parents[-1]}.".startswith(f"{parent}.") and parent]
    return min(around, key=len, default=parents[-1])


def _plain(path: str) -> str:
    """The original network's path of a module or parameter."""
    return path.removeprefix("body.").removeprefix("native_pool.")
