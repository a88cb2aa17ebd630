// Second moments of rows, of the left factor with itself and with targets at some distance from it.
//
// Rows go in tiles. A tile's left factors are laid out about their pilot, in float64 for their squares and in
// T for the products with targets; a target is laid out when its turn comes. Both products run over the rows
// of the tile, and what they leave is added in float64.
#pragma once

#include "cpu/gemm.h"
#include "cpu/memory.h"
#include "job.h"

namespace rnnmem {
inline namespace RNNMEM_ISA {

template <typename T>
class MomentSums {
  static constexpr int NV = 2;
  static constexpr int64_t kWide = NV * lanes<double>, kNarrow = NV * lanes<T>, kRows = 128;

 public:
  explicit MomentSums(const Moments<T>& of)
      : of_(of),
        features_(of.features()),
        wide_step_(apart(features_, kWide)),
        narrow_step_(apart(features_, kNarrow)),
        target_step_(apart(of.dimension, kNarrow)),
        wide_(kRows * wide_step_),
        narrow_(kRows * narrow_step_),
        target_(of.maps ? kRows * target_step_ : 0),
        wide_component_(features_),
        narrow_component_(features_) {
    for (int64_t f = 0; f < features_; ++f) {
      wide_component_.get()[f] = wide_.get() + f;
      narrow_component_.get()[f] = narrow_.get() + f;
    }
  }

  // Shares [first, last) of kMomentShares.
  void run(int64_t first, int64_t last) {
    for (int64_t row = 0; row < of_.rows; row += kRows) {
      const int64_t count = smaller(kRows, of_.rows - row);
      lay_out(row, count, first == 0);
      for (int64_t share = first; share < last; ++share) {
        for (int64_t column = share * kWide; column < features_; column += kMomentShares * kWide)
          add_square(column, count);
        for (int64_t map = share; map < of_.maps; map += kMomentShares) add_target(map, row, count);
      }
    }
  }

 private:
  // A row of some columns, and one vector more: rows a power of two apart would share few lines of the cache.
  static int64_t apart(int64_t columns, int64_t panel) {
    return (columns + panel - 1) / panel * panel + panel;
  }

  void lay_out(int64_t first, int64_t count, bool sum) {
    for (int64_t i = 0; i < count; ++i)
      for (int64_t a = 0; a < of_.pieces; ++a) {
        const T* from = of_.left + (of_.row[first + i] + of_.left_at[a]) * of_.piece;
        const int64_t at = a * of_.piece;
        double* __restrict wide = wide_.get() + i * wide_step_ + at;
        T* __restrict narrow = narrow_.get() + i * narrow_step_ + at;
        for (int64_t f = 0; f < of_.piece; ++f) {
          wide[f] = from[f] - of_.left_pilot[at + f];
          narrow[f] = static_cast<T>(wide[f]);
        }
        double* __restrict total = of_.sum + at;
        for (int64_t f = 0; sum && f < of_.piece; ++f) total[f] += wide[f];
      }
  }

  // Some columns of the square, from the first row to the diagonal.
  void add_square(int64_t column, int64_t count) {
    const int64_t width = smaller(kWide, features_ - column);
    const Rows<double> a{{wide_component_.get(), nullptr}, 1, column + width, count, wide_step_};
    const Columns<double> w{wide_.get() + column, wide_step_};
    panel_product<double, NV>(a, w, static_cast<const double*>(nullptr),
                              AddWide<double>{of_.square + column, features_, width});
  }

  void add_target(int64_t map, int64_t first, int64_t count) {
    const int64_t d = of_.dimension;
    const double* pilot = of_.right_pilot + map * d;
    double* __restrict sum = of_.target + map * d;
    for (int64_t i = 0; i < count; ++i) {
      const T* from = of_.right + (of_.row[first + i] + of_.right_at[map]) * d;
      T* __restrict to = target_.get() + i * target_step_;
      for (int64_t j = 0; j < d; ++j) {
        const double value = from[j] - pilot[j];
        to[j] = static_cast<T>(value);
        sum[j] += value;
      }
    }
    const Rows<T> a{{narrow_component_.get(), nullptr}, 1, features_, count, narrow_step_};
    for (int64_t column = 0; column < d; column += kNarrow) {
      const AddWide<T> add{of_.cross + map * features_ * d + column, d, smaller(kNarrow, d - column)};
      panel_product<T, NV>(a, Columns<T>{target_.get() + column, target_step_},
                           static_cast<const T*>(nullptr), add);
    }
  }

  const Moments<T>& of_;
  const int64_t features_, wide_step_, narrow_step_, target_step_;
  Buffer<double> wide_;
  Buffer<T> narrow_, target_;
  Buffer<const double*> wide_component_;
  Buffer<const T*> narrow_component_;
};

}  // namespace RNNMEM_ISA
}  // namespace rnnmem
