"""Which functions of CuPy the stand-in has, and which parameters those take.

``name: parameters`` as in CuPy 14: a reduction has no ``where`` and no ``initial``, ``take`` has no
``mode``. test_stand_in.py compares the lists with CuPy where that is installed. A function that is
missing here raises AttributeError; if CuPy has it, it can be added.
"""

from __future__ import annotations

#: Elementwise functions: the arrays, then ``out``, ``dtype`` and ``casting``, but no ``where``.
UFUNCS = """
abs absolute acos acosh add arccos arccosh arcsin arcsinh arctan arctan2 arctanh asin asinh atan
atan2 atanh bitwise_and bitwise_invert bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift
bitwise_xor cbrt ceil conj conjugate copysign cos cosh deg2rad degrees divide divmod equal exp exp2
expm1 fabs float_power floor floor_divide fmax fmin fmod frexp gcd greater greater_equal heaviside
hypot invert isfinite isinf isnan lcm ldexp left_shift less less_equal log log10 log1p log2
logaddexp logaddexp2 logical_and logical_not logical_or logical_xor maximum minimum mod modf
multiply negative nextafter not_equal positive pow power rad2deg radians reciprocal remainder
right_shift rint sign signbit sin sinh sqrt square subtract tan tanh true_divide trunc
""".split()

FUNCTIONS = dict(
    line.split(": ")
    for line in """
all: a axis out keepdims
allclose: a b rtol atol equal_nan
amax: a axis out keepdims
amin: a axis out keepdims
any: a axis out keepdims
argmax: a axis dtype out keepdims
argmin: a axis dtype out keepdims
argsort: a axis kind
argwhere: a
around: a decimals out
append: arr values axis
array_equal: a1 a2 equal_nan
array_split: ary indices_or_sections axis
ascontiguousarray: a dtype
asfortranarray: a dtype
atleast_1d: *arys
atleast_2d: *arys
atleast_3d: *arys
average: a axis weights returned keepdims
bincount: x weights minlength
broadcast_arrays: *args
broadcast_to: array shape
clip: a a_min a_max out
column_stack: tup
concatenate: tup axis out dtype casting
copyto: dst src casting where
count_nonzero: a axis
cross: a b axisa axisb axisc axis
cumprod: a axis dtype out
cumsum: a axis dtype out
diag: v k
diagonal: a offset axis1 axis2
diff: a n axis prepend append
digitize: x bins right
dot: a b out
dstack: tup
expand_dims: a axis
flatnonzero: a
flip: a axis
fliplr: a
flipud: a
gradient: f *varargs axis edge_order
hstack: tup dtype casting
imag: val
indices: dimensions dtype
inner: a b
interp: x xp fp left right period
isclose: a b rtol atol equal_nan
kron: a b
matmul: *args axes axis casting dtype out
max: a axis out keepdims
mean: a axis dtype out keepdims
median: a axis out overwrite_input keepdims
meshgrid: *xi indexing sparse copy
min: a axis out keepdims
moveaxis: a source destination
nan_to_num: x copy nan posinf neginf
ndim: a
nonzero: a
outer: a b out
pad: array pad_width mode constant_values
percentile: a q axis out overwrite_input method keepdims
prod: a axis dtype out keepdims
ptp: a axis out keepdims
ravel: a order
real: val
repeat: a repeats axis
roll: a shift axis
rollaxis: a axis start
rot90: a k axes
round: a decimals out
searchsorted: a v side sorter
select: condlist choicelist default
shape: a
size: a axis
sort: a axis kind
split: ary indices_or_sections axis
squeeze: a axis
stack: tup axis out dtype casting
std: a axis dtype out ddof keepdims
sum: a axis dtype out keepdims
swapaxes: a axis1 axis2
take: a indices axis out
take_along_axis: a indices axis
tensordot: a b axes
tile: A reps
trace: a offset axis1 axis2 dtype out
transpose: a axes
tril: m k
triu: m k
unique: ar return_index return_inverse return_counts axis equal_nan
var: a axis dtype out ddof keepdims
vdot: a b
vstack: tup dtype casting
where: condition x y
linalg.cholesky: a
linalg.det: a
linalg.inv: a
linalg.matrix_power: M n
linalg.norm: x ord axis keepdims
linalg.pinv: a rcond
linalg.qr: a mode
linalg.slogdet: a
linalg.solve: a b
linalg.svd: a full_matrices compute_uv
arange: start stop step dtype
empty_like: prototype dtype order subok shape
eye: N M k dtype order
full: shape fill_value dtype order
full_like: a fill_value dtype order subok shape
identity: n dtype
linspace: start stop num endpoint retstep dtype axis
ones: shape dtype order
ones_like: a dtype order subok shape
tri: N M k dtype
zeros: shape dtype order
zeros_like: a dtype order subok shape
""".strip().splitlines()
)

#: Their new arrays have the memory order of the first argument.
KEEPS_ORDER = {"copy", "empty_like", "full_like", "ones_like", "zeros_like", "asfortranarray"}

#: They take several arrays in a list or a tuple.
OF_SEQUENCES = {"column_stack", "concatenate", "dstack", "hstack", "select", "stack", "vstack"}

#: How much they find decides on the shape of the result, so the host has to know.
SYNCHRONISES = {"argwhere", "bincount", "flatnonzero", "nonzero", "unique"}

#: These answer with a Python value that is known without the device.
OF_THE_HOST = {"ndim", "shape", "size"}

#: Dtypes, constants, and functions on dtypes and shapes: NumPy's own objects.
PASSED_THROUGH = """
bool bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 intp uint float16 float32 float64
complex64 complex128 floating integer inexact number generic signedinteger unsignedinteger dtype
finfo iinfo pi e inf nan newaxis broadcast_shapes promote_types issubdtype can_cast isscalar int_
""".split()
