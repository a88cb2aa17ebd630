// How the threads of a team wait for each other, and what of the work is each one's.
#pragma once

#include <sched.h>

#include "cpu/vec.h"
#include "job.h"

namespace rnnmem {
inline namespace RNNMEM_ISA {

// One thread's place in a team; see Share in job.h.
class Place {
 public:
  explicit Place(const Share& share) : team_(share.team), members_(share.members) {}

  bool leads() const { return members_.first == 0; }

  // Of so many things in a row, this thread's.
  Range of(int64_t count) const {
    return {count * members_.first / team_.size, count * members_.last / team_.size};
  }

  // Returns once every member has come here as often.
  void meet() {
    if (members_.last - members_.first == team_.size) return;
    ++meetings_;
    tell(meetings_);
    for (int64_t m = 0; m < team_.size; ++m)
      for (int64_t looks = 0; heard(m) < meetings_; ++looks) wait(looks);
  }

  // What the leading thread calls with is what every thread gets, null if that thread has left.
  void* lend(void* scratch) {
    if (leads()) team_.scratch = scratch;
    meet();
    return team_.scratch;
  }

  // From here on nobody waits for this thread.
  void leave() { tell(INT64_MAX); }

 private:
  static constexpr int64_t kLooks = 10000;  // before the processor is offered to others

  void tell(int64_t meetings) {
    for (int64_t m = members_.first; m < members_.last; ++m)
      __atomic_store_n(&team_.member[m].meetings, meetings, __ATOMIC_RELEASE);
  }
  int64_t heard(int64_t m) const { return __atomic_load_n(&team_.member[m].meetings, __ATOMIC_ACQUIRE); }
  static void wait(int64_t looks) {
    if (looks > kLooks) sched_yield();
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }

  Team& team_;
  const Range members_;
  int64_t meetings_ = 0;
};

}  // namespace RNNMEM_ISA
}  // namespace rnnmem
