// The operators of torch.ops.rnnmem: check, fill in the job, run it over torch's threads.
#include <Python.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "dispatch.h"
#include "fill.h"
#include "layer.h"
#include "pack.h"
#include "run.h"

namespace rnnmem {
namespace {

// Moments are summed for each group of streams apart, so that no thread count shows in their bits; this
// bounds what the sums may take, by fewer and larger groups.
constexpr int64_t kMomentBytes = int64_t{64} << 20;

// The words of an argument, which is given away: torch's own conversion leaks a string a call.
string taken(StringHandle words) {
  size_t length = 0;
  const char* at = nullptr;
  check(!torch_string_length(words, &length) && !torch_string_c_str(words, &at), "expected a string");
  const string copy(at, length);
  torch_delete_string(words);
  return copy;
}

const Isa& isa_named(StringHandle words) {
  const string name = taken(words);
  const Isa* isa = find_isa(name.c_str());
  check(isa, "isa: expected one that this machine runs, got ", name);
  return *isa;
}

template <typename Body>
auto with_dtype(const Tensor& like, Body body) {
  const ScalarType dtype = like.scalar_type();
  check(dtype == ScalarType::Float || dtype == ScalarType::Double, "expected float32 or float64, got ",
        dtype);
  return dtype == ScalarType::Float ? body(float{}) : body(double{});
}

// What a layer computes in, as its biases have it, and what its weights are kept in.
template <typename Body>
auto with_weights(const Tensor& bias, const Tensor& weight, Body body) {
  return with_dtype(bias, [&](auto zero) {
    if constexpr (std::is_same_v<decltype(zero), float>)
      if (weight.scalar_type() == ScalarType::Int) return body(zero, Pair{});
    return body(zero, zero);
  });
}

Tensor pack(const Tensor& weight, int64_t gates, StringHandle isa_words) {
  const Isa& isa = isa_named(isa_words);
  check(weight.dim() == 3, "weight: expected rank 3, got ", weight.dim());
  check(gates >= 1 && weight.size(1) % gates == 0, "gates: expected a divisor of ", weight.size(1), ", got ",
        gates);
  check_tensor("weight", weight, weight.scalar_type(), {weight.size(0), weight.size(1), weight.size(2)});
  const auto packed_of = [&](auto zero) {
    using T = decltype(zero);
    const int64_t count = weight.size(0), rows = weight.size(1), columns = weight.size(2);
    const Panels p(rows / gates, gates, lanes<T>(isa));
    Tensor packed = empty<T>({count, p.count(), columns, p.vectors, p.lanes});
    for (int64_t n = 0; n < count; ++n)
      pack_panels(data<T>(weight) + n * rows * columns, gates, columns, p,
                  static_cast<T*>(packed.mutable_data_ptr()) + n * p.row() * columns);
    return packed;
  };
  return weight.scalar_type() == ScalarType::Int ? packed_of(Pair{}) : with_dtype(weight, packed_of);
}

Tensor gate_rows(StringHandle unit_words, StringHandle isa_words, const Tensor& inputs, const Tensor& ih,
                 const Tensor& bias_ih, const Tensor& hh, const Tensor& bias_hh) {
  const string unit_name = taken(unit_words);
  const Isa& isa = isa_named(isa_words);
  return with_dtype(hh, [&](auto zero) {
    using T = decltype(zero);
    Scan<T> scan{};
    const optional<Tensor> weight_ih(ih);
    check(inputs.dim() == 2, "inputs: expected rank 2, got ", inputs.dim());
    check(hh.dim() == 5, "hh: expected rank 5");
    scan.input_size = inputs.size(1);
    scan.hidden_size = hh.size(2);
    const UnitKernels<T>& unit = fill_layer(scan, isa, unit_name, {weight_ih, bias_ih, hh, bias_hh});
    check_tensor("inputs", inputs, hh.scalar_type(), {inputs.size(0), scan.input_size});
    scan.inputs = inputs.const_data_ptr<T>();
    scan.row_size = scan.input_size;
    const int64_t rows = inputs.size(0);
    Tensor gates = empty<T>({rows, Panels(scan.hidden_size, unit.gates, lanes<T>(isa)).row()});
    T* to = gates.mutable_data_ptr<T>();
    torch::stable::parallel_for(0, rows, 128,
                                [&](int64_t first, int64_t last) { unit.gate_rows(scan, to, first, last); });
    return gates;
  });
}

std::tuple<Tensor, Tensor> store(StringHandle unit_words, StringHandle isa_words, const Tensor& inputs,
                                 optional<Tensor> table, optional<Tensor> ih, const Tensor& bias_ih,
                                 const Tensor& hh, const Tensor& bias_hh, double leak, const Tensor& state,
                                 optional<Tensor> reset, bool full) {
  const string unit_name = taken(unit_words);
  const Isa& isa = isa_named(isa_words);
  return with_weights(bias_hh, hh, [&](auto zero, auto weight) {
    using T = decltype(zero);
    Scan<T, decltype(weight)> scan{};
    Tensor last_state;
    const ScanTensors x{inputs, table, {ih, bias_ih, hh, bias_hh}, state, reset};
    const UnitKernels<T>& unit = fill_scan(scan, isa, unit_name, x, leak, full, last_state);
    Tensor features = empty<T>({scan.steps, scan.streams, scan.hidden_size * (full ? unit.state_parts : 1)});
    run(kernels_of(scan, isa, unit).store, scan, Store<T>{features.mutable_data_ptr<T>()},
        plan_scan(scan, unit.gates, isa.vector_bytes, 0));
    return std::make_tuple(features, last_state);
  });
}

// The last state's parts have a dimension more, as torch.nn's have; a unit of one part has an empty second.
std::tuple<Tensor, Tensor, Tensor> layer(StringHandle unit_words, const Tensor& inputs, optional<Tensor> h,
                                         optional<Tensor> c, const Tensor& ih, const Tensor& hh,
                                         optional<Tensor> bias_ih, optional<Tensor> bias_hh, bool half) {
  const string unit_name = taken(unit_words);
  const Isa& isa = best_isa();
  const auto layer_of = [&](auto given, auto computed) {
    using E = decltype(given);
    const UnitKernels<decltype(computed)>* unit = find_unit<decltype(computed)>(isa, unit_name.c_str());
    check(unit, "unit: unknown to the cpu backend: ", unit_name);
    Few<E, E, E> few{};
    fill_few(few, unit->gates, unit->state_parts, {inputs, h, c, ih, hh, bias_ih, bias_hh});
    const int64_t B = few.streams, H = few.hidden_size, S = unit->state_parts;
    Tensor output = empty<E>({few.steps, B, H}), last[] = {empty<E>({1, B, H}), empty<E>({S - 1, B, H})};
    few.output = static_cast<E*>(output.mutable_data_ptr());
    for (int64_t s = 0; s < S; ++s) few.last_state[s] = static_cast<E*>(last[s].mutable_data_ptr());
    run_layer(few, *unit, isa, half);
    return std::make_tuple(output, last[0], last[1]);
  };
  return hh.scalar_type() == ScalarType::BFloat16
             ? layer_of(Half{}, 0.f)
             : with_dtype(hh, [&](auto zero) { return layer_of(zero, zero); });
}

std::tuple<Tensor, Tensor, Tensor> pull(StringHandle unit_words, StringHandle isa_words, const Tensor& inputs,
                                        optional<Tensor> table, optional<Tensor> ih, const Tensor& bias_ih,
                                        const Tensor& hh, const Tensor& bias_hh, double leak,
                                        const Tensor& state, optional<Tensor> reset, bool full,
                                        const Tensor& back, const Tensor& states, const Tensor& gradient,
                                        optional<Tensor> above, bool sides) {
  const string unit_name = taken(unit_words);
  const Isa& isa = isa_named(isa_words);
  check(!reset, "reset: expected none on the way back");
  return with_dtype(hh, [&](auto zero) {
    using T = decltype(zero);
    Scan<T> scan{};
    Tensor before;
    const ScanTensors x{inputs, table, {ih, bias_ih, hh, bias_hh}, state, reset};
    const UnitKernels<T>& unit = fill_scan(scan, isa, unit_name, x, leak, full, before);
    check(gradient.scalar_type() == hh.scalar_type(), "gradient: expected dtype ", hh.scalar_type(), ", got ",
          gradient.scalar_type());
    Pull<T> to{};
    fill_pull(to, scan, isa, unit, {back, states, gradient, above});
    Tensor squares = empty<double>({scan.steps, scan.streams});
    Tensor input_sides = empty<T>({sides ? scan.steps : 0, scan.streams, unit.gates * scan.hidden_size});
    to.squares = squares.mutable_data_ptr<double>();
    to.sides = sides ? input_sides.mutable_data_ptr<T>() : nullptr;
    const int64_t size = scan.streams_per_group;
    torch::stable::parallel_for(0, (scan.streams + size - 1) / size, 1, [&](int64_t first, int64_t last) {
      unit.pull(scan, to, first * size, std::min(last * size, scan.streams));
    });
    return std::make_tuple(before, squares, input_sides);
  });
}

// Fills in the half below the diagonal.
void mirror(double* square, int64_t size) {
  for (int64_t i = 0; i < size; ++i)
    for (int64_t j = 0; j < i; ++j) square[i * size + j] = square[j * size + i];
}

std::tuple<Tensor, Tensor, Tensor, Tensor> moments(const Tensor& left, const Tensor& left_at,
                                                   const Tensor& right, const Tensor& right_at,
                                                   const Tensor& row, const Tensor& left_pilot,
                                                   const Tensor& right_pilot, StringHandle isa_words) {
  const Isa& isa = isa_named(isa_words);
  return with_dtype(left, [&](auto zero) {
    using T = decltype(zero);
    Moments<T> of{};
    fill_moments(of, {left, left_at, right, right_at, row, left_pilot, right_pilot});
    const int64_t F = of.features(), d = of.dimension;
    Tensor sum = zeros<double>({F}), square = zeros<double>({F, F}), target = zeros<double>({of.maps, d}),
           cross = zeros<double>({of.maps, F, d});
    of.sum = sum.mutable_data_ptr<double>();
    of.square = square.mutable_data_ptr<double>();
    of.target = target.mutable_data_ptr<double>();
    of.cross = cross.mutable_data_ptr<double>();
    torch::stable::parallel_for(0, kMomentShares, 1,
                                [&](int64_t first, int64_t last) { moments_of<T>(isa)(of, first, last); });
    mirror(of.square, F);
    return std::make_tuple(sum, square, target, cross);
  });
}

// Sums [groups, L, d, d] over the groups in order, and fills in the half below the diagonal.
void reduce_moments(const double* sums, int64_t groups, int64_t maps, int64_t d, double* moment) {
  for (int64_t i = 0; i < maps * d * d; ++i) {
    double sum = 0;
    for (int64_t g = 0; g < groups; ++g) sum += sums[g * maps * d * d + i];
    moment[i] = sum;
  }
  for (int64_t map = 0; map < maps; ++map) mirror(moment + map * d * d, d);
}

std::tuple<Tensor, Tensor, Tensor, Tensor> project(
    StringHandle unit_words, StringHandle isa_words, const Tensor& inputs, optional<Tensor> table,
    optional<Tensor> ih, const Tensor& bias_ih, const Tensor& hh, const Tensor& bias_hh, double leak,
    const Tensor& state, optional<Tensor> reset, bool full, const Tensor& maps, const Tensor& map_bias,
    const Tensor& targets, const Tensor& buffer, const Tensor& lag, const Tensor& age, const Tensor& min_age,
    int64_t step, int64_t moment_every, const Tensor& directions, int64_t coordinate_maps,
    int64_t coordinate_every) {
  const string unit_name = taken(unit_words);
  const Isa& isa = isa_named(isa_words);
  return with_weights(bias_hh, hh, [&](auto zero, auto weight) {
    using T = decltype(zero);
    Scan<T, decltype(weight)> scan{};
    Tensor last_state;
    const ScanTensors x{inputs, table, {ih, bias_ih, hh, bias_hh}, state, reset};
    const UnitKernels<T>& unit = fill_scan(scan, isa, unit_name, x, leak, full, last_state);
    Project<T> to{};
    to.step = step;
    to.moment_every = moment_every;
    to.coordinate_every = coordinate_every;
    to.coordinate_maps = coordinate_maps;
    std::vector<T> packed_directions;
    const int64_t features = scan.hidden_size * (full ? unit.state_parts : 1);
    check(maps.scalar_type() == bias_hh.scalar_type(), "maps: expected dtype ", bias_hh.scalar_type(),
          ", got ", maps.scalar_type());
    fill_project(to, scan, isa, features, {maps, map_bias, targets, buffer, lag, age, min_age, directions},
                 packed_directions);

    const int64_t d = to.dimension, moment_bytes = to.maps * d * d * int64_t{sizeof(double)};
    const bool any_moment = first_multiple(step, moment_every) * moment_every < step + scan.steps;
    auto groups = [&] { return (scan.streams + scan.streams_per_group - 1) / scan.streams_per_group; };
    // Powers of two times 8: a pass of streams never straddles two groups of which it does not start one.
    while (any_moment && groups() > 1 && groups() * moment_bytes > kMomentBytes) scan.streams_per_group *= 2;
    const int64_t sums_made = any_moment ? groups() : 0;
    Tensor sums = zeros<double>({sums_made, to.maps, d, d});
    Tensor moment = empty<double>({to.maps, d, d});
    Tensor distance = empty<T>({scan.steps, scan.streams, to.maps});
    const int64_t taken =
        first_multiple(step + scan.steps, coordinate_every) - first_multiple(step, coordinate_every);
    Tensor coordinates = empty<T>({taken, scan.streams, coordinate_maps, to.direction_count});
    to.distance = distance.mutable_data_ptr<T>();
    to.moment = sums.mutable_data_ptr<double>();
    to.coordinates = coordinates.mutable_data_ptr<T>();
    run(kernels_of(scan, isa, unit).project, scan, to,
        plan_scan(scan, unit.gates, isa.vector_bytes, double(to.maps * d * features)));
    reduce_moments(to.moment, sums_made, to.maps, d, moment.mutable_data_ptr<double>());
    return std::make_tuple(distance, moment, coordinates, last_state);
  });
}

}  // namespace
}  // namespace rnnmem

// Everything is functional: no argument is changed. What each argument holds is written in rnnmem/ops.py.
#define RNNMEM_LAYER                                                                                         \
  "str unit, str isa, Tensor inputs, Tensor? table, Tensor? ih, Tensor bias_ih, Tensor hh, Tensor bias_hh, " \
  "float leak, Tensor state, Tensor? reset, bool full"

STABLE_TORCH_LIBRARY(rnnmem, m) {
  m.def("pack(Tensor weight, int gates, str isa) -> Tensor");
  m.def(
      "gate_rows(str unit, str isa, Tensor inputs, Tensor ih, Tensor bias_ih, Tensor hh, Tensor bias_hh) -> "
      "Tensor");
  m.def("store(" RNNMEM_LAYER ") -> (Tensor features, Tensor state)");
  m.def(
      "layer(str unit, Tensor inputs, Tensor? h, Tensor? c, Tensor ih, Tensor hh, Tensor? bias_ih, "
      "Tensor? bias_hh, bool half=False) -> (Tensor output, Tensor h, Tensor c)");
  m.def("pull(" RNNMEM_LAYER
        ", Tensor back, Tensor states, Tensor gradient, Tensor? above, bool sides) "
        "-> (Tensor gradient, Tensor squares, Tensor sides)");
  m.def(
      "moments(Tensor left, Tensor left_at, Tensor right, Tensor right_at, Tensor row, Tensor left_pilot, "
      "Tensor right_pilot, str isa) -> (Tensor sum, Tensor square, Tensor target, Tensor cross)");
  m.def("project(" RNNMEM_LAYER
        ", Tensor maps, Tensor map_bias, Tensor targets, Tensor buffer, Tensor lag, Tensor age, Tensor "
        "min_age, "
        "int step, int moment_every, Tensor directions, int coordinate_maps, int coordinate_every) "
        "-> (Tensor distance, Tensor moment, Tensor coordinates, Tensor state)");
}

STABLE_TORCH_LIBRARY_IMPL(rnnmem, CPU, m) {
  m.impl("pack", TORCH_BOX(&rnnmem::pack));
  m.impl("gate_rows", TORCH_BOX(&rnnmem::gate_rows));
  m.impl("store", TORCH_BOX(&rnnmem::store));
  m.impl("layer", TORCH_BOX(&rnnmem::layer));
  m.impl("pull", TORCH_BOX(&rnnmem::pull));
  m.impl("moments", TORCH_BOX(&rnnmem::moments));
  m.impl("project", TORCH_BOX(&rnnmem::project));
}

namespace {

PyObject* isa_levels(PyObject*, PyObject*) {
  PyObject* names = PyList_New(0);
  for (const rnnmem::Isa* isa : rnnmem::kIsas) {
    if (!names || !isa->runs_here()) continue;
    PyObject* name = PyUnicode_FromString(isa->name);
    if (!name || PyList_Append(names, name)) Py_CLEAR(names);
    Py_XDECREF(name);
  }
  return names;
}

// (unit, inputs, hidden, streams, steps, threads) to (teams, members, modelled seconds, steps of a tile),
// of a float32 layer that only stores its outputs, at the best instruction set.
PyObject* plan(PyObject*, PyObject* arguments) {
  const char* name;
  long long inputs, hidden, streams, steps, threads;
  if (!PyArg_ParseTuple(arguments, "sLLLLL", &name, &inputs, &hidden, &streams, &steps, &threads))
    return nullptr;
  const rnnmem::Isa& isa = rnnmem::best_isa();
  const rnnmem::UnitKernels<float>* unit = rnnmem::find_unit<float>(isa, name);
  if (!unit || inputs < 0 || hidden < 1 || streams < 1 || steps < 1 || threads < 1) {
    PyErr_SetString(PyExc_ValueError, "plan: expected a unit and sizes of at least 1");
    return nullptr;
  }
  const rnnmem::Plan found = rnnmem::plan_of(
      rnnmem::cost_of<float, float, float>(unit->gates, inputs, hidden, rnnmem::lanes<float>(isa), steps,
                                           streams, rnnmem::kGroupStreams, 0),
      threads);
  return Py_BuildValue("LLdL", static_cast<long long>(found.teams), static_cast<long long>(found.members),
                       found.seconds, static_cast<long long>(rnnmem::tile_steps(streams)));
}

PyMethodDef methods[] = {{"isa_levels", isa_levels, METH_NOARGS,
                          "Names of the instruction sets that this machine runs, best first."},
                         {"plan", plan, METH_VARARGS, "How a layer's forward pass is dealt to threads."},
                         {nullptr, nullptr, 0, nullptr}};
PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT, "_C", nullptr, -1, methods, nullptr, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__C() {
  return PyModule_Create(&module_definition);
}
