"""Layers of the localisation and classification nets, each with its explicit backward pass."""

from stn_np.layers.convolution import Conv2d, conv2d
from stn_np.layers.dense import Dropout, Flatten, Linear, ReLU, dropout, linear, relu
from stn_np.layers.losses import cross_entropy
from stn_np.layers.normalisation import BatchNorm1d, BatchNorm2d, batch_norm
from stn_np.layers.pooling import (
    AvgPool2d,
    GlobalAvgPool2d,
    MaxPool2d,
    avg_pool2d,
    global_avg_pool2d,
    max_pool2d,
)
from stn_np.module import Buffer, Module, Parallel, Parameter, Sequential, Training, apply

__all__ = [
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Buffer",
    "Conv2d",
    "Dropout",
    "Flatten",
    "GlobalAvgPool2d",
    "Linear",
    "MaxPool2d",
    "Module",
    "Parallel",
    "Parameter",
    "ReLU",
    "Sequential",
    "Training",
    "apply",
    "avg_pool2d",
    "batch_norm",
    "conv2d",
    "cross_entropy",
    "dropout",
    "global_avg_pool2d",
    "linear",
    "max_pool2d",
    "relu",
]
