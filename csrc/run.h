// Runs a scan over torch's threads.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <vector>

#include "plan.h"

namespace rnnmem {

// Over torch's threads as the plan has it. Threads are members of all teams in one row, so that however many
// of them one thread is given, it finds every team before its next.
template <typename Scan, typename To>
void run(void (*kernel)(const Scan&, const To&, const Share&), const Scan& scan, const To& to,
         const Plan& plan) {
  const int64_t size = scan.streams_per_group, groups = (scan.streams + size - 1) / size;
  if (!groups) return;
  std::vector<Team::Member> member(plan.teams * plan.members);
  std::vector<Team> teams;
  for (int64_t n = 0; n < plan.teams; ++n) teams.push_back({plan.members, member.data() + n * plan.members});
  torch::stable::parallel_for(0, plan.teams * plan.members, 1, [&](int64_t first, int64_t last) {
    for (int64_t n = first / plan.members; n * plan.members < last; ++n) {
      const Range streams{groups * n / plan.teams * size,
                          std::min(groups * (n + 1) / plan.teams * size, scan.streams)};
      const int64_t start = n * plan.members;
      kernel(
          scan, to,
          {streams, teams[n], {std::max(first - start, int64_t{0}), std::min(last - start, plan.members)}});
    }
  });
}

// Of a scan on vectors of so many bytes whose sink makes so many multiply-adds a step.
template <typename T, typename W, typename X>
Plan plan_scan(const Scan<T, W, X>& scan, int64_t gates, int64_t vector_bytes, double sink_products) {
  const Cost cost = cost_of<T, W, X>(gates, scan.weight_ih ? scan.input_size : 0, scan.hidden_size,
                                     vector_bytes / sizeof(T), scan.steps, scan.streams,
                                     scan.streams_per_group, sink_products);
  return plan_of(cost, torch::stable::get_num_threads());
}

}  // namespace rnnmem
