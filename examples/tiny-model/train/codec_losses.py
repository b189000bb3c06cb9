"""Losses of the codec: multi-scale spectra, and a small discriminator."""

import torch
from torch import nn
import torch.nn.functional as F


class Spectral(nn.Module):
    """Multi-scale magnitude STFT loss, log and linear, with mel-like frequency weights."""

    def __init__(self, windows=(2048, 1024, 512, 256)):
        super().__init__()
        self.windows = windows
        for w in windows:
            self.register_buffer(f"w{w}", torch.hann_window(w))
            f = 1 / (700 + torch.linspace(0, 12000, w // 2 + 1))
            self.register_buffer(f"f{w}", (f / f.mean())[:, None])

    def mag(self, x, w):
        win = getattr(self, f"w{w}")
        s = torch.stft(x, w, w // 4, w, win, return_complex=True, pad_mode="constant")
        return torch.sqrt(s.real ** 2 + s.imag ** 2 + 1e-7) * (2 / win.sum())

    def forward(self, x, y):
        """x: output, y: target, [B, T]."""
        log = lin = 0
        for w in self.windows:
            a = self.mag(x, w)
            with torch.no_grad():
                b = self.mag(y, w)
                f = getattr(self, f"f{w}")
                norm = (b * f).mean() + 1e-5
            log = log + ((torch.log(a + 3e-4) - torch.log(b + 3e-4)).abs() * f).mean()
            lin = lin + ((a - b).abs() * f).mean() / norm
        return log / len(self.windows), lin / len(self.windows)


class Disc(nn.Module):
    """Small multi-scale STFT discriminator (complex spectrogram, 2-d convolutions) on
    random excerpts."""

    def __init__(self, windows=(1024, 256), ch=16, excerpt=12288):
        super().__init__()
        self.windows, self.excerpt = windows, excerpt
        self.nets = nn.ModuleList()
        for w in windows:
            self.register_buffer(f"w{w}", torch.hann_window(w))
            layers = [nn.Conv2d(2, ch, (3, 5), (1, 2), (1, 2)),
                      nn.Conv2d(ch, ch, (3, 5), (1, 2), (1, 2)),
                      nn.Conv2d(ch, ch, (3, 5), (2, 2), (1, 2)),
                      nn.Conv2d(ch, ch, (3, 3), 1, 1),
                      nn.Conv2d(ch, 1, (3, 3), 1, 1)]
            self.nets.append(nn.ModuleList([nn.utils.parametrizations.weight_norm(c) for c in layers]))

    def forward(self, x):
        logits, feats = [], []
        for w, net in zip(self.windows, self.nets):
            win = getattr(self, f"w{w}")
            s = torch.stft(x, w, w // 4, w, win, return_complex=True, pad_mode="constant")
            h = torch.stack([s.real, s.imag], 1).transpose(2, 3) / win.sum().sqrt() * 3
            h = h.contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                for c in net[:-1]:
                    h = F.leaky_relu(c(h), 0.2)
                    feats.append(h)
                logits.append(net[-1](h).float())
        return logits, feats

    def losses(self, x, y, at):
        """The discriminator's own loss, the generator's adversarial loss and its feature
        distance, on the excerpt that starts at sample `at`. x: original, y: output, [B, T]."""
        x, y = x[:, at:at + self.excerpt], y[:, at:at + self.excerpt]
        real, _ = self(x)
        fake, _ = self(y.detach())
        own = sum(F.relu(1 - r).mean() + F.relu(1 + f).mean() for r, f in zip(real, fake)) / len(real)
        self.requires_grad_(False)
        with torch.no_grad():
            _, wanted = self(x)
        fake, got = self(y)
        self.requires_grad_(True)
        fool = sum(-f.mean() for f in fake) / len(fake)
        features = sum((a - b).float().abs().mean() / (b.float().abs().mean() + 1e-3)
                       for a, b in zip(got, wanted)) / len(got)
        return own, fool, features
