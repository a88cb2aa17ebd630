// Every kernel table entry against a naive scalar loop, without torch: for sanitizers and other
// architectures. Every buffer is exactly as large as the kernels may touch. Threads are std::thread: a team
// of two for each group of streams, and one of the two makes two shares of three.
#include "trying.h"

using namespace rnnmem;

namespace {

enum class Input { kRows, kTokens, kGateTable };

constexpr int64_t kTokens = 11, kHistory = 5, kEvery = 2, kStep = 3;

template <typename T>
struct Problem {
  std::string unit;
  int64_t G, S;
  Shape n;
  bool full;
  int64_t F = n.H * (full ? S : 1), map_group = n.L > 2 ? (n.L + 1) / 2 : n.L;
  T leak = unit.rfind("echo", 0) == 0 ? T(0.7) : T(1);
  std::vector<T> ih = random_vector<T>(G * n.H * n.I, .5),
                 hh = random_vector<T>(G * n.H * n.H, 1 / std::sqrt(n.H));
  std::vector<T> bias_ih = random_vector<T>(G * n.H, .3), bias_hh = random_vector<T>(G * n.H, .3);
  std::vector<T> rows = random_vector<T>(n.T * n.B * n.I), embedding = random_vector<T>(kTokens * n.I);
  std::vector<int64_t> tokens = random_integers(n.T * n.B, 0, kTokens - 1);
  std::vector<char> reset = std::vector<char>(n.T * n.B);
  std::vector<T> state = random_vector<T>(S * n.B * n.H, .5);
  std::vector<T> gradient = random_vector<T>(S * n.B * n.H), above = random_vector<T>(n.T * n.B * n.H);
  std::vector<T> maps = random_vector<T>(n.L * n.d * F), map_bias = random_vector<T>(n.L * n.d);
  std::vector<T> targets = random_vector<T>(2 * (kHistory + n.T) * n.B * n.d),
                 directions = random_vector<T>(n.R * n.d);
  std::vector<int64_t> buffer = random_integers(n.L, 0, 1), lag = random_integers(n.L, 0, kHistory);
  std::vector<int64_t> age = random_integers(n.T * n.B, -1, 5), min_age = random_integers(n.L, 0, 3);
};

template <typename T>
struct Answer {
  std::vector<T> features, last, distance, coordinates;
  std::vector<double> moment;
  std::vector<T> pulled;
  std::vector<double> squares;
  std::vector<T> unpacked, packed;  // outputs and last state without resets, by few_kernel and by the loop
};

// The first part of states [T, B, S * H].
template <typename T>
std::vector<T> every_output(const std::vector<T>& states, const Problem<T>& p) {
  std::vector<T> output;
  for (size_t i = 0; i < states.size(); ++i)
    if (static_cast<int64_t>(i) / p.n.H % p.S == 0) output.push_back(states[i]);
  return output;
}

template <typename T>
int64_t taken(const Problem<T>& p) {
  return first_multiple(kStep + p.n.T, kEvery) - first_multiple(kStep, kEvery);
}

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

// One hidden unit's step, from the formulas in rnnmem/units and nothing in csrc/units.
void naive_step(const std::string& unit, const double* x, const double* h, double leak, double* state) {
  if (unit == "gru") {
    const double r = sigmoid(x[0] + h[0]), z = sigmoid(x[1] + h[1]), n = std::tanh(x[2] + r * h[2]);
    state[0] = (1 - z) * n + z * state[0];
  } else if (unit == "lstm") {
    state[1] = sigmoid(x[1] + h[1]) * state[1] + sigmoid(x[0] + h[0]) * std::tanh(x[2] + h[2]);
    state[0] = sigmoid(x[3] + h[3]) * std::tanh(state[1]);
  } else {
    const double a = x[0] + h[0];
    const bool identity = unit == "echo_identity", echo = identity || unit == "echo_tanh";
    const double new_h = unit == "rnn_relu" ? std::fmax(a, 0) : identity ? a : std::tanh(a);
    state[0] = echo ? (1 - leak) * state[0] + leak * new_h : new_h;
  }
}

template <typename T>
Answer<double> naive(const Problem<T>& p, Input input, std::vector<double> now) {
  const auto [H, I, B, steps, L, d, R] = p.n;
  Answer<double> a;
  std::vector<double> next(now.size());
  a.features.resize(steps * B * p.F), a.distance.resize(steps * B * L), a.moment.resize(L * d * d);
  a.coordinates.resize(taken(p) * B * L * R);
  for (int64_t t = 0; t < steps; ++t)
    for (int64_t b = 0; b < B; ++b) {
      const T* x = input == Input::kRows ? &p.rows[(t * B + b) * I] : &p.embedding[p.tokens[t * B + b] * I];
      for (int64_t s = 0; p.reset[t * B + b] && s < p.S; ++s)
        for (int64_t u = 0; u < H; ++u) now[(s * B + b) * H + u] = 0;
      for (int64_t u = 0; u < H; ++u) {
        double in[4] = {}, recurrent[4] = {}, state[2] = {};
        for (int64_t g = 0; g < p.G; ++g) {
          in[g] = p.bias_ih[g * H + u], recurrent[g] = p.bias_hh[g * H + u];
          for (int64_t k = 0; k < I; ++k) in[g] += double(p.ih[(g * H + u) * I + k]) * x[k];
          for (int64_t k = 0; k < H; ++k) recurrent[g] += p.hh[(g * H + u) * H + k] * now[b * H + k];
        }
        for (int64_t s = 0; s < p.S; ++s) state[s] = now[(s * B + b) * H + u];
        naive_step(p.unit, in, recurrent, p.leak, state);
        for (int64_t s = 0; s < p.S; ++s) next[(s * B + b) * H + u] = state[s];
      }
      double* features = &a.features[(t * B + b) * p.F];
      for (int64_t f = 0; f < p.F; ++f) features[f] = next[(f / H * B + b) * H + f % H];
      for (int64_t s = 0; s < p.S; ++s)
        for (int64_t u = 0; u < H; ++u) now[(s * B + b) * H + u] = next[(s * B + b) * H + u];
      const int64_t step = kStep + t;
      for (int64_t l = 0; l < L; ++l) {
        std::vector<double> recalled(d), residual(d);
        const int64_t target = (p.buffer[l] * (kHistory + steps) + kHistory + t - p.lag[l]) * B + b;
        double distance = 0;
        for (int64_t j = 0; j < d; ++j) {
          recalled[j] = p.map_bias[l * d + j];
          for (int64_t f = 0; f < p.F; ++f) recalled[j] += p.maps[(l * d + j) * p.F + f] * features[f];
          residual[j] = recalled[j] - p.targets[target * d + j];
          distance += residual[j] * residual[j];
        }
        a.distance[(t * B + b) * L + l] = distance;
        if (step % kEvery) continue;
        for (int64_t i = 0; p.age[t * B + b] >= p.min_age[l] && i < d * d; ++i)
          a.moment[l * d * d + i] += residual[i / d] * residual[i % d];
        const int64_t at = ((step / kEvery - first_multiple(kStep, kEvery)) * B + b) * L + l;
        for (int64_t r = 0; r < R; ++r)
          for (int64_t j = 0; j < d; ++j) a.coordinates[at * R + r] += recalled[j] * p.directions[r * d + j];
      }
    }
  a.last = now;
  return a;
}

// The gradient of sum(gradient * last state) + sum(above * outputs) by the state, for every so many hidden
// units: central differences, one hidden unit of all streams at once. Others are NaN.
constexpr double kMoved = 1e-5;

template <typename T>
std::vector<double> naive_gradient(Problem<T> p, Input input, int64_t every) {
  const int64_t H = p.n.H, B = p.n.B;
  p.full = true, p.F = H * p.S, p.n.L = p.n.R = 0;
  std::fill(p.reset.begin(), p.reset.end(), 0);
  std::vector<double> found(p.state.size(), NAN);
  for (int64_t s = 0; s < p.S; ++s)
    for (int64_t u = 0; u < H; u += every) {
      std::vector<double> sum(B);
      for (const double sign : {1., -1.}) {
        std::vector<double> state(p.state.begin(), p.state.end());
        for (int64_t b = 0; b < B; ++b) state[(s * B + b) * H + u] += sign * kMoved;
        const Answer<double> a = naive(p, input, state);
        for (int64_t i = 0; i < p.S * B * H; ++i) sum[i / H % B] += sign * p.gradient[i] * a.last[i];
        for (int64_t i = 0; i < p.n.T * B * H; ++i)
          sum[i / H % B] += sign * p.above[i] * a.features[i / H * p.F + i % H];
      }
      for (int64_t b = 0; b < B; ++b) found[(s * B + b) * H + u] = sum[b] / (2 * kMoved);
    }
  return found;
}

template <typename T>
Answer<T> run(const Problem<T>& p, const Isa& isa, Input input, bool threads) {
  const auto [H, I, B, steps, L, d, R] = p.n;
  const int64_t lanes = isa.vector_bytes / sizeof(T), row = Panels(H, p.G, lanes).row();
  const UnitKernels<T>& unit = *find_unit<T>(isa, p.unit.c_str());
  const auto ih = packed(p.ih.data(), H, p.G, I, lanes), hh = packed(p.hh.data(), H, p.G, H, lanes);
  const auto bias_ih = packed(p.bias_ih.data(), H, p.G, 1, lanes),
             bias_hh = packed(p.bias_hh.data(), H, p.G, 1, lanes);
  std::vector<T> gates(kTokens * row), maps, map_bias;
  for (int64_t l = 0; l < L; l += p.map_group) {  // every group is packed as a full one
    std::vector<T> weight(p.map_group * d * p.F), bias(p.map_group * d);
    for (int64_t i = 0; i < p.map_group * d && l * d + i < L * d; ++i) {
      bias[i] = p.map_bias[l * d + i];
      for (int64_t f = 0; f < p.F; ++f) weight[i * p.F + f] = p.maps[(l * d + i) * p.F + f];
    }
    const auto more = packed(weight.data(), p.map_group * d, 1, p.F, lanes);
    const auto more_bias = packed(bias.data(), p.map_group * d, 1, 1, lanes);
    maps.insert(maps.end(), more.begin(), more.end());
    map_bias.insert(map_bias.end(), more_bias.begin(), more_bias.end());
  }
  const auto directions = packed(p.directions.data(), R, 1, d, lanes);

  const T nan = static_cast<T>(NAN);
  const int64_t size = 8, groups = (B + size - 1) / size;
  Answer<T> a{std::vector<T>(steps * B * p.F, nan),
              std::vector<T>(p.state.size(), nan),
              std::vector<T>(steps * B * L, nan),
              std::vector<T>(taken(p) * B * L * R, nan),
              std::vector<double>(L * d * d),
              std::vector<T>(p.state.size(), nan),
              std::vector<double>(steps * B, NAN),
              {},
              {}};
  std::vector<double> sums(groups * L * d * d);
  Scan<T> scan{{steps, B, I, H, p.full, size},
               ih.data(),
               hh.data(),
               bias_ih.data(),
               bias_hh.data(),
               p.leak,
               p.rows.data(),
               nullptr,
               B * I,
               I,
               I,
               reinterpret_cast<const bool*>(p.reset.data()),
               p.state.data(),
               a.last.data()};
  if (input != Input::kRows) {
    scan.inputs = p.embedding.data(), scan.tokens = p.tokens.data(), scan.time_stride = B,
    scan.stream_stride = 1;
    if (input == Input::kGateTable) {
      unit.gate_rows(scan, gates.data(), 0, kTokens);
      scan.inputs = gates.data(), scan.weight_ih = nullptr, scan.row_size = row;
    }
  }
  const Store<T> store{a.features.data()};
  const Project<T> project{maps.data(),
                           map_bias.data(),
                           L,
                           p.map_group,
                           d,
                           p.targets.data(),
                           kHistory,
                           p.buffer.data(),
                           p.lag.data(),
                           p.min_age.data(),
                           p.age.data(),
                           kStep,
                           kEvery,
                           kEvery,
                           L,
                           directions.data(),
                           R,
                           a.distance.data(),
                           sums.data(),
                           a.coordinates.data()};
  const auto streams = [&](auto kernel, const auto& of, const auto& to) {
    std::vector<std::thread> running;
    for (int64_t first = 0; threads && first < B; first += size)
      running.emplace_back(kernel, std::cref(of), std::cref(to), first, first + size < B ? first + size : B);
    for (std::thread& each : running) each.join();
    if (!threads) kernel(of, to, 0, B);
  };
  in_teams(unit.store, scan, store, size, threads);
  in_teams(unit.project, scan, project, size, threads);

  // The way back: hh transposed, each gate's rows padded, over states of a run without resets.
  const Panels one_gate(H, 1, lanes);
  const int64_t ld = one_gate.padded_size();
  std::vector<T> turned(H * p.G * ld), states(steps * B * p.S * H), sides(steps * B * p.G * H, nan);
  for (int64_t k = 0; k < p.G * H * H; ++k) turned[k % H * p.G * ld + k / H / H * ld + k / H % H] = p.hh[k];
  const auto back = packed(turned.data(), H, 1, p.G * ld, lanes);
  std::vector<T> last(p.state.size());
  Scan<T> whole = scan;
  whole.reset = nullptr, whole.full = true, whole.last_state = last.data();
  in_teams(unit.store, whole, Store<T>{states.data()}, size, threads);
  if (input == Input::kRows && p.leak == 1) {
    std::vector<T> output(steps * B * H, nan), after(p.state.size(), nan);
    const int64_t part = B * H;
    unit.few({{steps, B, I, H, B * I, I},
              p.ih.data(),
              p.hh.data(),
              p.bias_ih.data(),
              p.bias_hh.data(),
              p.rows.data(),
              {p.state.data(), p.S == 2 ? p.state.data() + part : nullptr},
              {after.data(), p.S == 2 ? after.data() + part : nullptr},
              output.data()});
    a.unpacked = output, a.packed = every_output(states, p);
    a.unpacked.insert(a.unpacked.end(), after.begin(), after.end());
    a.packed.insert(a.packed.end(), last.begin(), last.end());
  }
  whole.last_state = a.pulled.data();
  const Pull<T> pull{back.data(),    states.data(),    p.gradient.data(),
                     p.above.data(), a.squares.data(), sides.data()};
  streams(unit.pull, whole, pull);
  for (int64_t g = 0; g < groups; ++g)
    for (int64_t l = 0; l < L; ++l)
      for (int64_t i = 0; i < d * d; ++i) {  // the half below the diagonal is read from the other
        const int64_t least = std::min(i / d, i % d), most = std::max(i / d, i % d);
        a.moment[l * d * d + i] += sums[((g * L + l) * d + least) * d + most];
      }
  return a;
}

// Those of every so many hidden units.
template <typename T>
std::vector<T> at_every(const std::vector<T>& of, int64_t H, int64_t every) {
  std::vector<T> some;
  for (size_t i = 0; i < of.size(); ++i)
    if (i % H % every == 0) some.push_back(of[i]);
  return some;
}

// Of the gradient of the state before the first step, by stream; none if there is no step.
template <typename T>
std::vector<double> squared_lengths(const std::vector<T>& gradient, const Problem<T>& p) {
  std::vector<double> sums(p.n.T ? p.n.B : 0);
  for (size_t i = 0; i < gradient.size() && p.n.T; ++i)
    sums[i / p.n.H % p.n.B] += double(gradient[i]) * gradient[i];
  return sums;
}

template <typename T>
std::vector<T> first_steps(const std::vector<T>& of, const Shape& n) {
  return {of.begin(), of.begin() + (n.T ? n.B : 0)};
}

template <typename T>
void try_everything(const Shape& n) {
  for (int u = 0; u < kUnits; ++u)
    for (const bool full : {false, true})
      for (const Input input : {Input::kRows, Input::kTokens, Input::kGateTable}) {
        const UnitKernels<T>& unit = units_of<T>(isa_baseline)[u];
        Problem<T> p{unit.name, unit.gates, unit.state_parts, n, full};
        for (char& reset : p.reset) reset = random_number() > .7;
        const Answer<double> wanted = naive(p, input, {p.state.begin(), p.state.end()});
        const int64_t every = n.H < 10 ? 1 : 16;
        const std::vector<double> gradient = naive_gradient(p, input, every);
        for (const Isa* isa : kIsas) {
          if (!isa->runs_here()) continue;
          const std::string where = std::string(isa->name) + " " + unit.name +
                                    (sizeof(T) == 4 ? " float" : " double") + (full ? " full" : "") + " H " +
                                    std::to_string(n.H) + " B " + std::to_string(n.B);
          const Answer<T> one = run(p, *isa, input, false), many = run(p, *isa, input, true);
          const double tolerance = sizeof(T) == 4 ? 1e-5 : 1e-12;
          compare("features", where, one.features, wanted.features, tolerance);
          compare("states", where, one.last, wanted.last, tolerance);
          compare("distances", where, one.distance, wanted.distance, tolerance);
          compare("moments", where, one.moment, wanted.moment, tolerance);
          compare("coordinates", where, one.coordinates, wanted.coordinates, tolerance);
          // Differences have an error of their own.
          compare("gradients", where, at_every(one.pulled, n.H, every), at_every(gradient, n.H, every),
                  sizeof(T) == 4 ? tolerance : 1e-8);
          compare("their lengths", where, first_steps(one.squares, n), squared_lengths(one.pulled, p),
                  tolerance);
          compare("outputs on unpacked weights", where, one.unpacked, one.packed, tolerance);
          compare("gradients by threads", where, many.pulled, one.pulled, 0);
          compare("features by threads", where, many.features, one.features, 0);
          compare("moments by threads", where, many.moment, one.moment, 0);
        }
      }
}

}  // namespace

int main() {
  for (const Isa* isa : kIsas)
    std::printf("%s: %s\n", isa->name, isa->runs_here() ? "run" : "not on this machine");
  const Shape shapes[] = {{1, 1, 1, 1, 1, 1, 1},    {7, 5, 3, 9, 5, 3, 2},   {33, 4, 17, 10, 3, 33, 40},
                          {63, 1, 9, 19, 2, 16, 3}, {16, 3, 25, 0, 4, 2, 1}, {20, 7, 1, 66, 9, 8, 0},
                          {33, 40, 1, 66, 2, 9, 1}};
  for (const Shape& shape : shapes) {
    try_everything<float>(shape);
    try_everything<double>(shape);
  }
  try_moments();
  try_half();
  std::printf("%d comparisons, %d failures\n", comparisons, failures);
  return failures || !comparisons;
}
