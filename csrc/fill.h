// From tensors to jobs: what each argument of an op has to be, and where it goes.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "check.h"
#include "dispatch.h"
#include "pack.h"

namespace rnnmem {

using std::optional;
using std::string;

template <typename T>
int64_t lanes(const Isa& isa) {
  return isa.vector_bytes / sizeof(T);
}

// A layer's weights as ops take them, all packed.
struct LayerTensors {
  const optional<Tensor>& ih;
  const Tensor &bias_ih, &hh, &bias_hh;
};

// The sizes are there.
template <typename T, typename W>
const UnitKernels<T>& fill_layer(Scan<T, W>& scan, const Isa& isa, const string& unit_name,
                                 const LayerTensors& w) {
  const UnitKernels<T>* unit = find_unit<T>(isa, unit_name.c_str());
  check(unit, "unit: unknown to the cpu backend: ", unit_name);
  check(scan.hidden_size >= 1, "hidden size: expected at least 1");
  const Panels p(scan.hidden_size, unit->gates, lanes<T>(isa));
  check_tensor("hh", w.hh, Dtype<W>::type, {1, p.count(), elements<W>(scan.hidden_size), p.vectors, p.lanes});
  check_tensor("bias_ih", w.bias_ih, Dtype<T>::type, {1, p.count(), 1, p.vectors, p.lanes});
  check_tensor("bias_hh", w.bias_hh, Dtype<T>::type, {1, p.count(), 1, p.vectors, p.lanes});
  if (w.ih) {
    check(scan.input_size >= 1, "input size: expected at least 1");
    check_tensor("ih", *w.ih, Dtype<W>::type,
                 {1, p.count(), elements<W>(scan.input_size), p.vectors, p.lanes});
    scan.weight_ih = data<W>(*w.ih);
  }
  scan.weight_hh = data<W>(w.hh);
  scan.bias_ih = w.bias_ih.const_data_ptr<T>();
  scan.bias_hh = w.bias_hh.const_data_ptr<T>();
  return *unit;
}

// Rows x [T, B, I] as they are read: any strides but in a row.
inline void check_rows(const Tensor& inputs, ScalarType dtype, int64_t input_size) {
  check(inputs.is_cpu(), "inputs: expected a CPU tensor");
  check(inputs.scalar_type() == dtype, "inputs: expected dtype ", dtype, ", got ", inputs.scalar_type());
  check(inputs.size(2) == input_size, "inputs: expected size ", input_size, ", got ", inputs.size(2));
  check(input_size == 1 || inputs.stride(2) == 1 || !inputs.numel(),
        "inputs: expected unit stride in the last dimension");
}

struct ScanTensors {
  const Tensor& inputs;
  const optional<Tensor>& table;
  const LayerTensors layer;
  const Tensor& state;
  const optional<Tensor>& reset;
};

// Everything of a scan but its sink; `last_state` comes back allocated.
template <typename T, typename W>
const UnitKernels<T>& fill_scan(Scan<T, W>& scan, const Isa& isa, const string& unit_name,
                                const ScanTensors& x, double leak, bool full, Tensor& last_state) {
  check(x.state.dim() == 3, "state: expected rank 3, got ", x.state.dim());
  check(x.inputs.dim() == (x.table ? 2 : 3), "inputs: expected rank ", x.table ? 2 : 3, ", got ",
        x.inputs.dim());
  check(!x.table || x.table->dim() == 2, "table: expected rank 2");
  scan.input_size = x.table ? x.table->size(1) : x.inputs.size(2);
  scan.hidden_size = x.state.size(2);
  const auto fits = [](const Tensor& packed, int64_t size) {
    return packed.dim() == 5 && packed.size(2) == elements<W>(size);
  };
  check(fits(x.layer.hh, scan.hidden_size), "state: expected the hidden size of hh: that does not fit ",
        scan.hidden_size);
  check(!x.layer.ih || fits(*x.layer.ih, scan.input_size), x.table ? "table" : "inputs",
        ": expected the input size of ih: that does not fit ", scan.input_size);
  const UnitKernels<T>& unit = fill_layer(scan, isa, unit_name, x.layer);
  const ScalarType dtype = Dtype<T>::type;
  scan.leak = static_cast<T>(leak);
  scan.full = full;
  scan.streams = x.state.size(1);
  check_tensor("state", x.state, dtype, {unit.state_parts, scan.streams, scan.hidden_size});
  check(x.inputs.size(1) == scan.streams, "inputs: expected ", scan.streams, " streams, got ",
        x.inputs.size(1));
  scan.steps = x.inputs.size(0);
  scan.time_stride = x.inputs.stride(0);
  scan.stream_stride = x.inputs.stride(1);
  // Rows are what the input product reads, or packed gates when there is no product to make.
  scan.row_size =
      scan.weight_ih ? scan.input_size : Panels(scan.hidden_size, unit.gates, lanes<T>(isa)).row();
  if (x.table) {
    check_tensor("table", *x.table, dtype, {x.table->size(0), scan.row_size});
    check_tensor("inputs", x.inputs, ScalarType::Long, {scan.steps, scan.streams});
    check_range("inputs", x.inputs, 0, x.table->size(0) - 1);
    scan.tokens = x.inputs.const_data_ptr<int64_t>();
    scan.inputs = x.table->const_data_ptr<T>();
  } else {
    check(scan.weight_ih, "ih: expected weights for float inputs");
    check_rows(x.inputs, dtype, scan.row_size);
    scan.inputs = x.inputs.const_data_ptr<T>();
  }
  if (x.reset) {
    check_tensor("reset", *x.reset, ScalarType::Bool, {scan.steps, scan.streams});
    scan.reset = x.reset->const_data_ptr<bool>();
  }
  scan.streams_per_group = kGroupStreams;
  last_state = empty<T>({unit.state_parts, scan.streams, scan.hidden_size});
  scan.state = x.state.const_data_ptr<T>();
  scan.last_state = last_state.mutable_data_ptr<T>();
  return unit;
}

struct PullTensors {
  const Tensor &back, &states, &gradient;
  const optional<Tensor>& above;
};

// What a way back reads; what it writes is the op's to allocate.
template <typename T>
void fill_pull(Pull<T>& to, const Scan<T>& scan, const Isa& isa, const UnitKernels<T>& unit,
               const PullTensors& p) {
  const ScalarType dtype = p.gradient.scalar_type();
  const int64_t H = scan.hidden_size, S = unit.state_parts;
  const Panels panels(H, 1, lanes<T>(isa));
  check_tensor("back", p.back, dtype,
               {1, panels.count(), unit.gates * panels.padded_size(), panels.vectors, panels.lanes});
  check_tensor("states", p.states, dtype, {scan.steps, scan.streams, S * H});
  check_tensor("gradient", p.gradient, dtype, {S, scan.streams, H});
  if (p.above) check_tensor("above", *p.above, dtype, {scan.steps, scan.streams, H});
  to.weight = p.back.const_data_ptr<T>();
  to.states = p.states.const_data_ptr<T>();
  to.gradient = p.gradient.const_data_ptr<T>();
  to.above = p.above ? p.above->const_data_ptr<T>() : nullptr;
}

struct MomentTensors {
  const Tensor &left, &left_at, &right, &right_at, &row, &left_pilot, &right_pilot;
};

// What second moments read; what they write is the op's to allocate.
template <typename T>
void fill_moments(Moments<T>& to, const MomentTensors& m) {
  const ScalarType dtype = m.left.scalar_type(), index = ScalarType::Long, wide = ScalarType::Double;
  check(m.left.dim() == 2, "left: expected rank 2, got ", m.left.dim());
  check(m.right.dim() == 2, "right: expected rank 2, got ", m.right.dim());
  check(m.left_at.dim() == 1, "left_at: expected rank 1, got ", m.left_at.dim());
  check(m.right_at.dim() == 1, "right_at: expected rank 1, got ", m.right_at.dim());
  check(m.row.dim() == 1, "row: expected rank 1, got ", m.row.dim());
  to.rows = m.row.size(0);
  to.piece = m.left.size(1);
  to.pieces = m.left_at.size(0);
  to.dimension = m.right.size(1);
  to.maps = m.right_at.size(0);
  check(to.piece >= 1, "left: expected at least one column");
  check(to.dimension >= 1, "right: expected at least one column");
  check_tensor("left", m.left, dtype, {m.left.size(0), to.piece});
  check_tensor("right", m.right, dtype, {m.right.size(0), to.dimension});
  check_tensor("left_at", m.left_at, index, {to.pieces});
  check_tensor("right_at", m.right_at, index, {to.maps});
  check_tensor("row", m.row, index, {to.rows});
  check_tensor("left_pilot", m.left_pilot, wide, {to.features()});
  check_tensor("right_pilot", m.right_pilot, wide, {to.maps, to.dimension});
  check_range("row", m.row, 0, kLastStep);
  check_places("left_at", m.left_at, m.row, m.left.size(0));
  check_places("right_at", m.right_at, m.row, m.right.size(0));
  to.left = m.left.const_data_ptr<T>();
  to.right = m.right.const_data_ptr<T>();
  to.left_at = m.left_at.const_data_ptr<int64_t>();
  to.right_at = m.right_at.const_data_ptr<int64_t>();
  to.row = m.row.const_data_ptr<int64_t>();
  to.left_pilot = m.left_pilot.const_data_ptr<double>();
  to.right_pilot = m.right_pilot.const_data_ptr<double>();
}

struct ProjectTensors {
  const Tensor &maps, &bias, &targets, &buffer, &lag, &age, &min_age, &directions;
};

template <typename T>
void fill_project(Project<T>& to, const Extent& scan, const Isa& isa, int64_t features,
                  const ProjectTensors& p, std::vector<T>& directions) {
  const ScalarType dtype = p.maps.scalar_type(), index = ScalarType::Long;
  check(p.targets.dim() == 4, "targets: expected rank 4, got ", p.targets.dim());
  check(p.lag.dim() == 1, "lag: expected rank 1, got ", p.lag.dim());
  check(p.directions.dim() == 2, "directions: expected rank 2, got ", p.directions.dim());
  check(p.maps.dim() == 5, "maps: expected rank 5, got ", p.maps.dim());
  const int64_t kinds = p.targets.size(0), target_steps = p.targets.size(1), groups = p.maps.size(0);
  to.maps = p.lag.size(0);
  to.dimension = p.targets.size(3);
  to.history = target_steps - scan.steps;
  to.direction_count = p.directions.size(0);
  check(to.dimension >= 1, "targets: expected a dimension of at least 1");
  check(to.history >= 0, "targets: expected at least ", scan.steps, " steps, got ", target_steps);
  check(to.maps == 0 || groups >= 1, "maps: expected at least one group");
  to.maps_per_group = groups ? (to.maps + groups - 1) / groups : 0;
  const Panels panels(to.maps_per_group * to.dimension, 1, lanes<T>(isa));
  check_tensor("maps", p.maps, dtype, {groups, panels.count(), features, panels.vectors, panels.lanes});
  check_tensor("map_bias", p.bias, dtype, {groups, panels.count(), 1, panels.vectors, panels.lanes});
  check_tensor("targets", p.targets, dtype, {kinds, target_steps, scan.streams, to.dimension});
  check_tensor("buffer", p.buffer, index, {to.maps});
  check_tensor("lag", p.lag, index, {to.maps});
  check_tensor("age", p.age, index, {scan.steps, scan.streams});
  check_tensor("min_age", p.min_age, index, {to.maps});
  check_tensor("directions", p.directions, dtype, {to.direction_count, to.dimension});
  check_range("buffer", p.buffer, 0, kinds - 1);
  check_range("lag", p.lag, 0, to.history);
  check(to.step >= 0 && to.step <= kLastStep - scan.steps, "step: expected 0 to ", kLastStep - scan.steps,
        ", got ", to.step);
  check(to.moment_every >= 1, "moment_every: expected at least 1, got ", to.moment_every);
  check(to.coordinate_every >= 1, "coordinate_every: expected at least 1, got ", to.coordinate_every);
  check(to.coordinate_maps >= 0 && to.coordinate_maps <= to.maps, "coordinate_maps: expected 0 to ", to.maps,
        ", got ", to.coordinate_maps);
  const Panels packed(to.direction_count, 1, lanes<T>(isa));
  directions.resize(packed.row() * to.dimension);
  pack_panels(p.directions.const_data_ptr<T>(), 1, to.dimension, packed, directions.data());
  to.weight = p.maps.const_data_ptr<T>();
  to.bias = p.bias.const_data_ptr<T>();
  to.targets = p.targets.const_data_ptr<T>();
  to.buffer = p.buffer.const_data_ptr<int64_t>();
  to.lag = p.lag.const_data_ptr<int64_t>();
  to.age = p.age.const_data_ptr<int64_t>();
  to.min_age = p.min_age.const_data_ptr<int64_t>();
  to.directions = directions.data();
}

}  // namespace rnnmem
