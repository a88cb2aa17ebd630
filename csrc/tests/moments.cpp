// Second moments against sums of one product after the other.
#include "trying.h"

namespace rnnmem {
namespace {

template <typename T>
void try_size(int64_t rows, int64_t piece, int64_t pieces, int64_t d, int64_t maps) {
  const int64_t F = piece * pieces, reach = 4;
  const auto left = random_vector<T>((rows + reach) * piece), right = random_vector<T>((rows + reach) * d);
  const auto row = random_integers(rows, 0, rows - 1), left_at = random_integers(pieces, 0, reach),
             right_at = random_integers(maps, 0, reach);
  const auto left_pilot = random_vector<double>(F), right_pilot = random_vector<double>(maps * d);
  const auto h = [&](int64_t r, int64_t f) {
    return left[(row[r] + left_at[f / piece]) * piece + f % piece] - left_pilot[f];
  };
  const auto e = [&](int64_t r, int64_t map, int64_t j) {
    return right[(row[r] + right_at[map]) * d + j] - right_pilot[map * d + j];
  };
  struct {
    std::vector<double> sum, square, target, cross;
  } wanted{std::vector<double>(F), std::vector<double>(F * F), std::vector<double>(maps * d),
           std::vector<double>(maps * F * d)};
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t f = 0; f < F; ++f) wanted.sum[f] += h(r, f);
    for (int64_t i = 0; i < F * F; ++i)
      if (i / F <= i % F) wanted.square[i] += h(r, i / F) * h(r, i % F);
    for (int64_t i = 0; i < maps * d; ++i) wanted.target[i] += e(r, i / d, i % d);
    for (int64_t i = 0; i < maps * F * d; ++i) wanted.cross[i] += h(r, i / d % F) * e(r, i / d / F, i % d);
  }
  for (const Isa* isa : kIsas) {
    if (!isa->runs_here()) continue;
    const std::string where = std::string(isa->name) + (sizeof(T) == 4 ? " float" : " double") + " rows " +
                              std::to_string(rows) + " F " + std::to_string(F) + " d " + std::to_string(d);
    auto found = wanted;
    for (auto* sums : {&found.sum, &found.square, &found.target, &found.cross})
      std::fill(sums->begin(), sums->end(), 0.);
    const Moments<T> of{left.data(),
                        right.data(),
                        row.data(),
                        left_at.data(),
                        right_at.data(),
                        rows,
                        piece,
                        pieces,
                        d,
                        maps,
                        left_pilot.data(),
                        right_pilot.data(),
                        found.sum.data(),
                        found.square.data(),
                        found.target.data(),
                        found.cross.data()};
    std::vector<std::thread> running;  // in threads of 5 shares
    for (int64_t first = 0; first < kMomentShares; first += 5)
      running.emplace_back(moments_of<T>(*isa), std::cref(of), first, std::min(first + 5, kMomentShares));
    for (std::thread& each : running) each.join();
    for (int64_t i = 0; i < F * F; ++i)
      if (i / F > i % F) found.square[i] = 0;  // of no use
    compare("sums of moments", where, found.sum, wanted.sum, 1e-12);
    compare("squares", where, found.square, wanted.square, 1e-12);
    compare("sums of targets", where, found.target, wanted.target, 1e-12);
    compare("products", where, found.cross, wanted.cross, sizeof(T) == 4 ? 1e-5 : 1e-12);
  }
}

}  // namespace

void try_moments() {
  const int64_t moments[][5] = {{1, 1, 1, 1, 1}, {70, 3, 5, 33, 4}, {64, 40, 1, 2, 17}, {9, 1, 37, 3, 0}};
  for (const auto& [rows, piece, pieces, d, maps] : moments) {
    try_size<float>(rows, piece, pieces, d, maps);
    try_size<double>(rows, piece, pieces, d, maps);
  }
}

}  // namespace rnnmem
