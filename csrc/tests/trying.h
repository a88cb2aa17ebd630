// What the kernels are tried with: random numbers, packed matrices, teams of threads, and comparisons that
// count their failures.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "dispatch.h"
#include "pack.h"

namespace rnnmem {

struct Shape {
  int64_t H, I, B, T, L, d, R;
};

inline double random_number() {
  static uint64_t state = 88172645463325252u;
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return static_cast<double>(state >> 11) / (uint64_t{1} << 52) - 1;
}

template <typename T>
std::vector<T> random_vector(int64_t size, double scale = 1) {
  std::vector<T> v(size);
  for (T& x : v) x = static_cast<T>(scale * random_number());
  return v;
}

inline std::vector<int64_t> random_integers(int64_t size, int64_t least, int64_t most) {
  std::vector<int64_t> v(size);
  for (int64_t& x : v) x = least + static_cast<int64_t>((random_number() + 1) / 2 * (most - least + 1));
  return v;
}

template <typename T>
std::vector<T> packed(const T* weight, int64_t size, int64_t gates, int64_t columns, int64_t lanes) {
  const Panels panels(size, gates, lanes);
  std::vector<T> to(panels.row() * columns);
  pack_panels(weight, gates, columns, panels, to.data());
  return to;
}

// In teams of three for each so many streams, each of two threads; or all in this one.
template <typename Kernel, typename Of, typename To>
void in_teams(Kernel kernel, const Of& of, const To& to, int64_t size, bool threads) {
  const int64_t groups = (of.streams + size - 1) / size;
  std::vector<Team::Member> member(3 * groups + 1);
  std::vector<Team> team;
  for (int64_t n = 0; n < groups; ++n) team.push_back({3, member.data() + 3 * n});
  std::vector<std::thread> running;
  for (int64_t n = 0; threads && n < groups; ++n)
    for (const Range members : {Range{0, 1}, Range{1, 3}})
      running.emplace_back([&, n, members] {
        kernel(of, to, {{n * size, std::min(n * size + size, of.streams)}, team[n], members});
      });
  for (std::thread& each : running) each.join();
  Team alone{1, member.data() + 3 * groups};
  if (!threads) kernel(of, to, {{0, of.streams}, alone, {0, 1}});
}

inline int failures = 0, comparisons = 0;

template <typename A, typename B>
void compare(const char* what, const std::string& where, const std::vector<A>& got,
             const std::vector<B>& wanted, double tolerance) {
  double scale = 1, worst = 0;
  for (B x : wanted) scale = std::fmax(scale, std::fabs(x));
  bool same = got.size() == wanted.size();
  for (size_t i = 0; same && i < got.size(); ++i) {
    const double error = std::fabs(got[i] - wanted[i]) / scale;
    worst = std::fmax(worst, error);
    same = error <= tolerance;  // not so for NaN
  }
  ++comparisons;
  if (same) return;
  ++failures;
  std::printf("%s: %s differ by %g\n", where.c_str(), what, worst);
}

// Each tries what its name says on every instruction set of this machine.
void try_moments();
void try_half();

}  // namespace rnnmem
