#include "scratch.h"

#include <cstddef>
#include <deque>
#include <new>

namespace rnnmem {
namespace {

constexpr std::align_val_t kLine{64};

// What one thread was given back, the oldest first.
class Kept {
 public:
  ~Kept() {
    while (!blocks_.empty()) drop();
  }

  void* take(int64_t bytes) {
    for (auto each = blocks_.begin(); each != blocks_.end(); ++each)
      if (each->bytes == bytes) {
        void* at = each->at;
        bytes_ -= bytes;
        blocks_.erase(each);
        return at;
      }
    return ::operator new(static_cast<size_t>(bytes), kLine);
  }

  void give(void* at, int64_t bytes) noexcept {
    try {
      blocks_.push_back({at, bytes});
    } catch (const std::bad_alloc&) {
      ::operator delete(at, kLine);
      return;
    }
    bytes_ += bytes;
    while (bytes_ > RNNMEM_SCRATCH_KEPT) drop();
  }

 private:
  struct Block {
    void* at;
    int64_t bytes;
  };

  void drop() {
    bytes_ -= blocks_.front().bytes;
    ::operator delete(blocks_.front().at, kLine);
    blocks_.pop_front();
  }

  std::deque<Block> blocks_;
  int64_t bytes_ = 0;
};

thread_local Kept kept;

}  // namespace

Scratch::Scratch(int64_t bytes) : bytes_(bytes), at_(kept.take(bytes)) {}

Scratch::~Scratch() {
  kept.give(at_, bytes_);
}

void* Scratch::get() const {
  return at_;
}

}  // namespace rnnmem
