"""Layers of the localisation and classification nets, each with its explicit backward pass."""

from stn_np.layers.activation import Flatten, ReLU, relu
from stn_np.layers.convolution import Conv2d, conv2d
from stn_np.layers.cross_entropy import cross_entropy
from stn_np.layers.linear import Linear, linear
from stn_np.layers.pooling import AvgPool2d, MaxPool2d, avg_pool2d, max_pool2d
from stn_np.module import Buffer, Module, Parallel, Parameter, Sequential, Training, apply

__all__ = [
    "AvgPool2d",
    "Buffer",
    "Conv2d",
    "Flatten",
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
    "conv2d",
    "cross_entropy",
    "linear",
    "max_pool2d",
    "relu",
]
