// Weights in bfloat16 against the kernels in float on the same, rounded weights: the same to the bit. And
// products of pairs, where the machine makes them, against both.
#include "half.h"

#include "trying.h"

namespace rnnmem {
namespace {

// Products of pairs read outputs rounded to 8 bits; what these networks make of that stays below.
constexpr double kRounded = 3e-2;

std::vector<Half> halves_of(const std::vector<float>& from) {
  std::vector<Half> to(from.size());
  convert(from.data(), static_cast<int64_t>(from.size()), to.data());
  return to;
}

std::vector<float> rounded(const std::vector<float>& from) {
  std::vector<float> to(from.size());
  convert(halves_of(from).data(), static_cast<int64_t>(from.size()), to.data());
  return to;
}

std::vector<Pair> paired(const std::vector<float>& from, int64_t columns) {
  const int64_t rows = static_cast<int64_t>(from.size()) / columns, size = elements<Pair>(columns);
  std::vector<Pair> to(rows * size);
  for (int64_t n = 0; n < rows; ++n) pair_up(from.data() + n * columns, columns, to.data() + n * size);
  return to;
}

struct Layer {
  const UnitKernels<float>& unit;
  Shape n;
  int64_t G = unit.gates, S = unit.state_parts;
  std::vector<float> ih = rounded(random_vector<float>(G * n.H * n.I, .5)),
                     hh = rounded(random_vector<float>(G * n.H * n.H, 1 / std::sqrt(n.H))),
                     bias = random_vector<float>(G * n.H, .3),
                     rows = rounded(random_vector<float>(n.T * n.B * n.I)),
                     state = random_vector<float>(S * n.B * n.H, .5),
                     maps = random_vector<float>(n.L * n.d * n.H), map_bias = random_vector<float>(n.L * n.d),
                     targets = random_vector<float>(n.T * n.B * n.d);
  std::vector<char> reset = std::vector<char>(n.T * n.B);
};

// What a layer's kernels make of it: every output, the last state, and distances.
struct Made {
  std::vector<float> outputs, last, distance;
};

// Weights kept in W, products reading X from rows that are X already.
template <typename W, typename X, typename Body>
void with_scan(const Layer& of, int64_t lanes, const std::vector<X>& rows, std::vector<float>& last,
               Body body) {
  const auto [H, I, B, T, L, d, R] = of.n;
  const auto pack = [&](const std::vector<float>& weight, int64_t columns) {
    if constexpr (std::is_same_v<W, Pair>)
      return packed(paired(weight, columns).data(), H, of.G, elements<Pair>(columns), lanes);
    else
      return packed(weight.data(), H, of.G, columns, lanes);
  };
  const auto ih = pack(of.ih, I), hh = pack(of.hh, H);
  const auto bias = packed(of.bias.data(), H, of.G, 1, lanes);
  const int64_t row = elements<X>(I);
  Scan<float, W, X> scan{{T, B, I, H, false, kGroupStreams},
                         ih.data(),
                         hh.data(),
                         bias.data(),
                         bias.data(),
                         1,
                         rows.data(),
                         nullptr,
                         B * row,
                         row,
                         row,
                         reinterpret_cast<const bool*>(of.reset.data()),
                         of.state.data(),
                         last.data()};
  body(scan);
}

template <typename W, typename Kernels>
Made made(const Layer& of, int64_t lanes, const Kernels& kernels, bool threads) {
  const auto [H, I, B, T, L, d, R] = of.n;
  const float nan = NAN;
  Made m{std::vector<float>(T * B * H, nan), std::vector<float>(of.state.size(), nan),
         std::vector<float>(T * B * L, nan)};
  const auto maps = packed(of.maps.data(), L * d, 1, H, lanes),
             map_bias = packed(of.map_bias.data(), L * d, 1, 1, lanes);
  const std::vector<int64_t> zero(std::max(L, T * B));
  const Project<float> project{
      maps.data(), map_bias.data(),   L,           L,      d,         of.targets.data(), 0, zero.data(),
      zero.data(), zero.data(),       zero.data(), 1,      kLastStep, kLastStep,         0, nullptr,
      0,           m.distance.data(), nullptr,     nullptr};
  with_scan<W, float>(of, lanes, of.rows, m.last, [&](const auto& scan) {
    in_teams(kernels.store, scan, Store<float>{m.outputs.data()}, kGroupStreams, threads);
    in_teams(kernels.project, scan, project, kGroupStreams, threads);
  });
  return m;
}

std::vector<float> by_pairs(const Layer& of, const PairProducts& pairs, int64_t unit,
                            std::vector<float>& last, bool threads) {
  std::vector<Half> outputs(of.n.T * of.n.B * of.n.H, 0x7fc0);
  std::vector<float> wide(outputs.size());
  with_scan<Pair, Pair>(of, pairs.vector_bytes / 4, paired(of.rows, of.n.I), last, [&](const auto& scan) {
    in_teams(pairs.store[unit], scan, Store<float, Half>{outputs.data()}, kGroupStreams, threads);
  });
  convert(outputs.data(), static_cast<int64_t>(outputs.size()), wide.data());
  return wide;
}

template <typename W>
std::vector<float> few(const Layer& of, const std::vector<W>& ih, const std::vector<W>& hh,
                       void (*kernel)(const Few<float, W>&)) {
  const auto [H, I, B, T, L, d, R] = of.n;
  const int64_t part = B * H;
  std::vector<float> outputs(T * part, NAN), last(of.state.size(), NAN);
  kernel({{T, B, I, H, B * I, I},
          ih.data(),
          hh.data(),
          of.bias.data(),
          of.bias.data(),
          of.rows.data(),
          {of.state.data(), of.S == 2 ? of.state.data() + part : nullptr},
          {last.data(), of.S == 2 ? last.data() + part : nullptr},
          outputs.data()});
  outputs.insert(outputs.end(), last.begin(), last.end());
  return outputs;
}

void try_layer(const Shape& n, int64_t u) {
  for (const Isa* isa : kIsas) {
    if (!isa->runs_here()) continue;
    const UnitKernels<float>& unit = isa->f32[u];
    const HalfWeights& half = isa->half[u];
    Layer of{unit, n};
    for (char& reset : of.reset) reset = random_number() > .8;
    const std::string where = std::string(isa->name) + " " + unit.name + " of bfloat16, H " +
                              std::to_string(n.H) + " B " + std::to_string(n.B);
    const int64_t lanes = isa->vector_bytes / 4;
    const Made wanted = made<float>(of, lanes, unit, false);
    for (const bool threads : {false, true}) {
      const Made found = made<Pair>(of, lanes, half, threads);
      compare("outputs", where, found.outputs, wanted.outputs, 0);
      compare("states", where, found.last, wanted.last, 0);
      compare("distances", where, found.distance, wanted.distance, 0);
    }
    compare("outputs on unpacked weights", where, few(of, halves_of(of.ih), halves_of(of.hh), half.few),
            few(of, of.ih, of.hh, unit.few), 0);
    const PairProducts* pairs = pair_products();
    if (!pairs || isa != &best_isa()) continue;
    std::vector<float> last(of.state.size(), NAN), again = last;
    const std::vector<float> found = by_pairs(of, *pairs, u, last, false);
    compare("products of pairs", where, found, wanted.outputs, kRounded);
    compare("their last states", where, last, wanted.last, kRounded);
    compare("pairs by threads", where, by_pairs(of, *pairs, u, again, true), found, 0);
    compare("their last states by threads", where, again, last, 0);
  }
}

}  // namespace

void try_half() {
  const Shape shapes[] = {{1, 1, 1, 1, 1, 1, 0},   {7, 5, 3, 9, 2, 3, 0},    {33, 4, 17, 10, 3, 5, 0},
                          {20, 7, 1, 66, 2, 8, 0}, {33, 41, 1, 66, 2, 9, 0}, {64, 36, 1, 70, 1, 2, 0},
                          {16, 3, 25, 0, 2, 2, 0}, {31, 6, 5, 60, 1, 1, 0}};
  for (const Shape& shape : shapes)
    for (int64_t unit = 0; unit < kUnits; ++unit) try_layer(shape, unit);
}

}  // namespace rnnmem
