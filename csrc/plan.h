// How a scan is dealt to threads: streams to teams, and a team's hidden units to its members.
//
// A model of the cost of a step picks it, from the shapes and the number of threads alone, so that nothing
// varies from run to run. No choice shows in any bit of a result.
#pragma once

#include <algorithm>

#include "job.h"

namespace rnnmem {

// Round figures of today's server cores; only their ratios matter, and those little.
inline constexpr double kProductsPerSecond = 50e9;  // float32 multiply-adds of a core
inline constexpr double kBytesPerSecond = 100e9;    // weights from a core's second-level cache, or the third
inline constexpr double kUnitProducts = 10;         // what an activation costs, in multiply-adds
inline constexpr double kMeetingSeconds = 0.15e-6;  // two threads; each further one adds a third of it
inline constexpr double kForkSeconds = 5e-6;        // waking threads up, once a scan

// What a scan asks for: multiply-adds of a step of one stream (in float64 each counts as two), and bytes of
// weights that a step reads.
struct Cost {
  double products, bytes;
  int64_t steps, streams, streams_per_group, panels;
};

// Of one layer whose sink makes so many multiply-adds a step; `input_size` is 0 if the input side is there.
// A product of pairs costs as much as one of floats.
template <typename T, typename W, typename X>
Cost cost_of(int64_t gates, int64_t input_size, int64_t hidden_size, int64_t lanes, int64_t steps,
             int64_t streams, int64_t streams_per_group, double sink_products) {
  const double rows = double(gates * hidden_size), wide = sizeof(T) / sizeof(float);
  const double products = double(elements<X>(hidden_size) + elements<X>(input_size));
  return {wide * (rows * (products + kUnitProducts) + sink_products),
          rows * double(elements<W>(hidden_size)) * sizeof(W),
          steps,
          streams,
          streams_per_group,
          Panels(hidden_size, gates, lanes).count()};
}

struct Plan {
  int64_t teams, members;  // members in each team
  double seconds;          // as the model has it
};

inline double seconds_of(const Cost& cost, int64_t teams, int64_t members) {
  const int64_t groups = (cost.streams + cost.streams_per_group - 1) / cost.streams_per_group;
  const int64_t most = std::min(cost.streams, (groups + teams - 1) / teams * cost.streams_per_group);
  const double share = double((cost.panels + members - 1) / members) / double(cost.panels);
  double step = 0;
  for (int64_t left = most; left > 0; left -= kPassStreams) {
    const double rows = double(std::min(left, kPassStreams));
    step += share * std::max(rows * cost.products / kProductsPerSecond, cost.bytes / kBytesPerSecond);
    if (members > 1) step += kMeetingSeconds * (1 + double(members - 2) / 3);
  }
  return double(cost.steps) * step + (teams * members > 1 ? kForkSeconds : 0);
}

// The quickest of all; of equals the one with the smaller teams.
inline Plan plan_of(const Cost& cost, int64_t threads) {
  const int64_t groups = (cost.streams + cost.streams_per_group - 1) / cost.streams_per_group;
  Plan best{1, 1, seconds_of(cost, 1, 1)};
  for (int64_t members = 1; members <= std::min(threads, cost.panels); ++members) {
    const int64_t teams = std::min(threads / members, groups);
    const double seconds = teams < 1 ? best.seconds : seconds_of(cost, teams, members);
    if (seconds < best.seconds) best = {teams, members, seconds};
  }
  return best;
}

}  // namespace rnnmem
