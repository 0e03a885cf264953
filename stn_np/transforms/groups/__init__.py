"""Composing and inverting maps, and two families that are written by logarithms and angles."""
