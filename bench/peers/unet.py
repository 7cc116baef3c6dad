"""The demo's U-Net in plain PyTorch, as a peer to measure against: same layers, same parameter names and shapes.

Written for the switches of presets/demo.toml alone: shift conditioning, one residual block a level, attention at one
resolution, strided convolutions between levels.
"""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

GROUPS = 32


def timestep_embedding(t, dim):
    half = dim // 2
    frequencies = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32) / half).to(t.device)
    angle = t[:, None].float() * frequencies[None]
    return torch.cat([torch.cos(angle), torch.sin(angle)], dim=-1)


class ResBlock(nn.Module):
    def __init__(self, channels, out, embedding):
        super().__init__()
        self.in_layers = nn.Sequential(nn.GroupNorm(GROUPS, channels), nn.SiLU(), nn.Conv2d(channels, out, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, out))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(GROUPS, out), nn.SiLU(), nn.Dropout(0), nn.Conv2d(out, out, 3, padding=1)
        )
        self.skip_connection = nn.Identity() if out == channels else nn.Conv2d(channels, out, 1)

    def forward(self, x, emb):
        h = self.in_layers(x) + self.emb_layers(emb)[:, :, None, None]
        return self.skip_connection(x) + self.out_layers(h)


class Attention(nn.Module):
    def __init__(self, channels, head_channels):
        super().__init__()
        self.heads = channels // head_channels
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x, emb):
        n, c, h, w = x.shape
        x = x.reshape(n, c, h * w)
        qkv = self.qkv(self.norm(x)).reshape(n, self.heads, 3 * c // self.heads, h * w)
        q, k, v = (part.transpose(2, 3) for part in qkv.chunk(3, dim=2))
        a = F.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(n, c, h * w)
        return (x + self.proj_out(a)).reshape(n, c, h, w)


class Down(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x, emb):
        return self.op(x)


class Up(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x, emb):
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


class First(nn.Conv2d):
    def forward(self, x, emb):
        return super().forward(x)


class Unet(nn.Module):
    def __init__(self, channels=4, width=32, mult=(1, 2, 2), size=64, attention_at=16, head_channels=32, classes=2):
        super().__init__()
        embedding = 4 * width
        self.width = width
        self.time_embed = nn.Sequential(nn.Linear(width, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.label_emb = nn.Embedding(classes, embedding)
        self.input_blocks = nn.ModuleList([nn.ModuleList([First(channels, width * mult[0], 3, padding=1)])])
        ch, kept, side = width * mult[0], [width * mult[0]], size
        for level, m in enumerate(mult):
            block = [ResBlock(ch, m * width, embedding)]
            ch = m * width
            if side == attention_at:
                block.append(Attention(ch, head_channels))
            self.input_blocks.append(nn.ModuleList(block))
            kept.append(ch)
            if level + 1 < len(mult):
                self.input_blocks.append(nn.ModuleList([Down(ch)]))
                kept.append(ch)
                side //= 2
        self.middle_block = nn.ModuleList(
            [ResBlock(ch, ch, embedding), Attention(ch, head_channels), ResBlock(ch, ch, embedding)]
        )
        self.output_blocks = nn.ModuleList()
        for level, m in reversed(list(enumerate(mult))):
            for i in range(2):
                block = [ResBlock(ch + kept.pop(), m * width, embedding)]
                ch = m * width
                if side == attention_at:
                    block.append(Attention(ch, head_channels))
                if level and i == 1:
                    block.append(Up(ch))
                    side *= 2
                self.output_blocks.append(nn.ModuleList(block))
        self.out = nn.Sequential(nn.GroupNorm(GROUPS, ch), nn.SiLU(), nn.Conv2d(ch, 2 * channels, 3, padding=1))

    def forward(self, x, t, y):
        emb = self.time_embed(timestep_embedding(t, self.width)) + self.label_emb(y)
        kept = []
        for block in self.input_blocks:
            for layer in block:
                x = layer(x, emb)
            kept.append(x)
        for layer in self.middle_block:
            x = layer(x, emb)
        for block in self.output_blocks:
            x = torch.cat([x, kept.pop()], dim=1)
            for layer in block:
                x = layer(x, emb)
        return self.out(x)
