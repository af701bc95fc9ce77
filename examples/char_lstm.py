"""A character model with an LSTM; and the same with a hook that doubles one parameter's gradient.

    gradcheck audit examples/char_lstm.py:build
    gradcheck audit examples/char_lstm.py:build_with_doubling_hook
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

TEXT = ("The gradient of the loss with respect to a weight is the product of what came in and the error that comes back; "
        "a chain of such products vanishes when its factors are small and explodes when they are large. ")
ALPHABET = sorted(set(TEXT))
WINDOW = 20


class CharLSTM(nn.Module):
    def __init__(self, hidden=32, layers=2, dropout=0.1):
        super().__init__()
        self.embedding = nn.Embedding(len(ALPHABET), 16)
        self.lstm = nn.LSTM(16, hidden, layers, batch_first=True, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.decoder = nn.Linear(hidden, len(ALPHABET))
        for name, parameter in self.lstm.named_parameters():
            if "weight" in name:
                nn.init.orthogonal_(parameter)
            elif "bias_ih" in name:
                with torch.no_grad():
                    parameter.zero_()
                    parameter[hidden : 2 * hidden] = 1.0

    def forward(self, ids):
        states, _ = self.lstm(self.embedding(ids))
        return self.decoder(self.dropout(states))


def batch(seed):
    generator = torch.Generator().manual_seed(seed)
    codes = torch.tensor([ALPHABET.index(character) for character in TEXT])
    starts = torch.randint(0, len(TEXT) - WINDOW, (16,), generator=generator)
    ids = codes[starts[:, None] + torch.arange(WINDOW + 1)]
    return ids[:, :-1], ids[:, 1:]


def loss(logits, targets):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def optimizer(parameters):
    return torch.optim.Adam(parameters, lr=1e-2)


def build():
    return {"model": CharLSTM(), "batch": batch, "loss": loss, "optimizer": optimizer}


def build_with_doubling_hook():
    model = CharLSTM()
    model.decoder.weight.register_hook(lambda gradient: 2 * gradient)
    return {"model": model, "batch": batch, "loss": loss, "optimizer": optimizer}
