"""Correct recurrent, attentive, indexing and resampling models."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from .case import Control, Expression, Facts, facts


def express(forward: Callable[..., Any], *inputs: Tensor, **parts: nn.Module | Tensor) -> Facts:
    """A forward given as a function."""
    return facts(Expression(forward, **parts), *inputs)


def first(module: nn.Module, *inputs: Tensor) -> Facts:
    """The first output of a module, read by a dense layer of width four."""
    return express(lambda m, *x: m.out(m.body(*x)[0]), *inputs, body=module, out=nn.Linear(4, 2))


def packed(m: Any, x: Tensor) -> Tensor:
    """A recurrence over sequences of lengths four, three and one."""
    output, _ = m.lstm(pack_padded_sequence(x, torch.tensor([4, 3, 1]), batch_first=True))
    return m.out(pad_packed_sequence(output, batch_first=True)[0])


def cells(m: Any, x: Tensor) -> Tensor:
    """A cell called once for every step."""
    state = None
    for t in range(x.shape[1]):
        state = m.cell(x[:, t], state)
    return m.out(state[0])


def causal(m: Any, x: Tensor) -> Tensor:
    """Two heads, causal, by the fused operation."""
    q, k, v = m.qkv(x).unflatten(-1, (3, 2, 2)).permute(2, 0, 3, 1, 4)
    return m.out(functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


def masked(m: Any, x: Tensor) -> Tensor:
    """Scores of minus infinity behind a softmax, none of them a whole row."""
    scores = (m.q(x) @ m.k(x).transpose(1, 2)).masked_fill(torch.ones(4, 4, dtype=torch.bool).triu(1), float("-inf"))
    return torch.softmax(scores, -1) @ m.v(x)


def warped(m: Any, x: Tensor) -> Tensor:
    """An image sampled on a learnt affine grid."""
    theta = 0.3 * m.theta(x.mean((2, 3))).view(-1, 2, 3)
    return functional.grid_sample(x, functional.affine_grid(theta, list(x.shape), align_corners=False), align_corners=False)


def attention(**options: Any) -> nn.MultiheadAttention:
    """Four features, two heads."""
    return nn.MultiheadAttention(4, 2, batch_first=True, **options)


def tokens(*layers: nn.Module) -> Facts:
    """Layers behind nothing, over tokens of which some repeat."""
    return facts(nn.Sequential(*layers), torch.tensor([[1, 4, 1, 0], [2, 4, 3, 4]]))


def bags() -> Facts:
    """Weighted bags of two, one and three tokens."""
    bag = nn.EmbeddingBag(6, 4, mode="sum")
    return express(
        lambda m, t, o, w: m.out(m.bag(t, o, w.sigmoid())),
        torch.tensor([0, 3, 3, 5, 2, 3]),
        torch.tensor([0, 2, 3]),
        torch.randn(6),
        bag=bag,
        out=nn.Linear(4, 2),
    )


def limited_table() -> Facts:
    """A table whose rows are all shorter than its limit."""
    table = nn.Embedding(6, 4, max_norm=100.0)
    return tokens(table, nn.Linear(4, 2))


INDEX = torch.tensor([[0, 2, 2], [1, 1, 3]])
IMAGE, ROWS, STEPS = (2, 2, 4, 4), (2, 4), (3, 4, 2)


def _layer(name: str, trait: str, build: Callable[[], Facts], **rest: Any) -> Control:
    return Control(id=f"layers/{name}", trait=trait, build=build, **rest)


CONTROLS = (
    _layer(
        "lstm", "two layers, both directions", lambda: first(nn.LSTM(2, 2, 2, batch_first=True, bidirectional=True), torch.randn(STEPS))
    ),
    _layer("lstm-dropout", "draws between its layers", lambda: first(nn.LSTM(2, 4, 2, dropout=0.4, batch_first=True), torch.randn(STEPS))),
    _layer("lstm-projection", "a projected state", lambda: first(nn.LSTM(2, 5, proj_size=4, batch_first=True), torch.randn(STEPS))),
    _layer(
        "gru", "an initial state as second input", lambda: first(nn.GRU(2, 4, batch_first=True), torch.randn(STEPS), torch.randn(1, 3, 4))
    ),
    _layer("rnn", "tanh recurrence", lambda: first(nn.RNN(2, 4, batch_first=True), torch.randn(STEPS))),
    _layer(
        "packed-sequences",
        "lengths that differ",
        lambda: express(packed, torch.randn(STEPS), lstm=nn.LSTM(2, 4, batch_first=True), out=nn.Linear(4, 2)),
    ),
    _layer(
        "cell-loop",
        "one module called at every step",
        lambda: express(cells, torch.randn(STEPS), cell=nn.LSTMCell(2, 4), out=nn.Linear(4, 2)),
    ),
    _layer(
        "multihead",
        "its output projection is never called",
        lambda: express(lambda m, x: m.body(x, x, x, need_weights=False)[0], torch.randn(2, 3, 4), body=attention()),
    ),
    _layer(
        "multihead-dropout",
        "draws inside a fused call",
        lambda: express(lambda m, x: m.body(x, x, x)[0], torch.randn(2, 3, 4), body=attention(dropout=0.3)),
    ),
    _layer(
        "multihead-padding",
        "keys masked out",
        lambda: express(
            lambda m, x: m.body(x, x, x, key_padding_mask=torch.tensor([[False, False, True], [False, False, False]]))[0],
            torch.randn(2, 3, 4),
            body=attention(),
        ),
    ),
    _layer(
        "encoder-layer",
        "pre-norm",
        lambda: facts(
            nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, batch_first=True, norm_first=True, activation="gelu"), torch.randn(2, 3, 4)
        ),
    ),
    _layer(
        "encoder-layer-eval",
        "a fused path in eval mode",
        lambda: facts(nn.TransformerEncoderLayer(4, 2, 6, batch_first=True, activation="gelu").eval(), torch.randn(2, 3, 4)),
    ),
    _layer(
        "decoder-layer",
        "two inputs",
        lambda: facts(
            nn.TransformerDecoderLayer(4, 2, 6, dropout=0.1, batch_first=True, activation="gelu"),
            torch.randn(2, 3, 4),
            torch.randn(2, 5, 4),
        ),
    ),
    _layer(
        "causal-attention", "fused and causal", lambda: express(causal, torch.randn(2, 4, 4), qkv=nn.Linear(4, 12), out=nn.Linear(4, 2))
    ),
    _layer(
        "masked-attention",
        "scores of minus infinity",
        lambda: express(masked, torch.randn(2, 4, 3), q=nn.Linear(3, 4), k=nn.Linear(3, 4), v=nn.Linear(3, 2)),
    ),
    _layer("embedding-duplicates", "tokens that repeat", lambda: tokens(nn.Embedding(6, 4), nn.Linear(4, 2))),
    _layer("embedding-sparse", "a sparse gradient", lambda: tokens(nn.Embedding(6, 4, sparse=True), nn.Linear(4, 2))),
    _layer("embedding-limit", "max_norm beyond every row", limited_table),
    _layer("embedding-bag", "weights as an input", bags),
    _layer(
        "padding-row-unused", "padding_idx without padding in the batch", lambda: tokens(nn.Embedding(6, 4, padding_idx=5), nn.Linear(4, 2))
    ),
    _layer(
        "ignored-labels",
        "labels that do not count",
        lambda: facts(nn.Linear(3, 4), torch.randn(4, 3), targets=torch.tensor([0, -100, 3, -100]), loss=functional.cross_entropy),
    ),
    _layer(
        "gather-duplicates",
        "an entry read twice",
        lambda: express(lambda m, x: m.a(x).gather(1, INDEX), torch.randn(ROWS), a=nn.Linear(4, 4)),
    ),
    _layer(
        "scatter-duplicates",
        "an entry written twice",
        lambda: express(lambda m, x: torch.zeros(2, 4, dtype=x.dtype).scatter_add(1, INDEX, m.a(x)), torch.randn(ROWS), a=nn.Linear(4, 3)),
    ),
    _layer(
        "index-put",
        "accumulates",
        lambda: express(
            lambda m, x: torch.zeros(4, dtype=x.dtype).index_put((INDEX.flatten(),), m.a(x).flatten(), accumulate=True),
            torch.randn(ROWS),
            a=nn.Linear(4, 3),
        ),
    ),
    _layer(
        "fold",
        "overlapping patches",
        lambda: express(
            lambda m, x: functional.fold(torch.tanh(m.a(functional.unfold(x, 2))), (4, 4), 2), torch.randn(IMAGE), a=nn.Conv1d(8, 8, 1)
        ),
    ),
    _layer("grid-sample", "a learnt grid", lambda: express(warped, torch.randn(IMAGE), theta=nn.Linear(2, 6))),
    _layer(
        "upsample-bilinear",
        "odd target size",
        lambda: express(
            lambda m, x: functional.interpolate(m.a(x), size=(7, 5), mode="bilinear"), torch.randn(IMAGE), a=nn.Conv2d(2, 2, 1)
        ),
    ),
    _layer(
        "upsample-bicubic",
        "aligned corners, smaller",
        lambda: express(
            lambda m, x: functional.interpolate(m.a(x), size=(3, 3), mode="bicubic", align_corners=True),
            torch.randn(IMAGE),
            a=nn.Conv2d(2, 2, 1),
        ),
    ),
    _layer(
        "padding-modes",
        "reflected, repeated and circular borders",
        lambda: facts(
            nn.Sequential(
                nn.Conv1d(2, 3, 3, padding=1, padding_mode="reflect"),
                nn.Conv1d(3, 3, 3, padding=1, padding_mode="circular"),
                nn.ReplicationPad1d(2),
            ),
            torch.randn(2, 2, 6),
        ),
    ),
    _layer(
        "transposed-convolution",
        "stride, dilation, groups",
        lambda: facts(nn.ConvTranspose2d(2, 4, 3, 2, 1, 1, groups=2, dilation=2), torch.randn(IMAGE)),
    ),
    _layer(
        "bilinear-cosine",
        "two inputs",
        lambda: express(
            lambda m, a, b: m.mix(a, b) * functional.cosine_similarity(a, b, dim=1)[:, None],
            torch.randn(4, 3),
            torch.randn(4, 3),
            mix=nn.Bilinear(3, 3, 2),
        ),
    ),
    _layer(
        "ctc",
        "a dynamic programme",
        lambda: facts(
            nn.Linear(3, 5),
            torch.randn(6, 2, 3),
            targets=torch.tensor([[1, 2, 2], [3, 1, 4]]),
            loss=lambda y, t: functional.ctc_loss(y.log_softmax(-1), t, torch.tensor([6, 6]), torch.tensor([3, 2])),
        ),
    ),
)
