// The register-tiled product behind every matrix here: input side, recurrent side, recall maps, coordinates
// and second moments; and the same for one row alone.
//
// Every element is accumulated over k in order, in one register, from its bias on. So its bits depend neither
// on the tile that it falls into nor on how the rows were split between threads or calls.
#pragma once

#include "cpu/vec.h"
#include "job.h"

namespace rnnmem {
inline namespace RNNMEM_ISA {

// Rows of the left factor, by pointer: they may be rows of a ring, of the caller's inputs or of a table. In
// parts of `size` columns each, `step` elements apart.
template <typename A>
struct Rows {
  const A* const* part[2];
  int parts;
  int64_t count, size, step;
};

// Columns of the right factor: NV vectors for each of its elements, `step` elements apart.
template <typename B>
struct Columns {
  const B* from;
  int64_t step;
};

// acc += a w, for MR rows and NV vectors of columns: the accumulators stay in registers.
template <typename T, int MR, int NV, typename A, typename B>
RNNMEM_INLINE void tile(Vec<T> (&acc)[MR][NV], const A* const* rows, int64_t step, Columns<B> w,
                        int64_t size) {
  using F = Factors<A, B>;
  const A* a[MR];
  for (int r = 0; r < MR; ++r) a[r] = rows[r];
  const auto add = [&](int64_t k, int i) __attribute__((always_inline)) {
    decltype(F::column(w.from, i)) column[NV];
    for (int v = 0; v < NV; ++v) column[v] = F::column(w.from + v * lanes<T>, i);
    for (int r = 0; r < MR; ++r)
      for (int v = 0; v < NV; ++v) acc[r][v] = F::product(a[r][(k + i) * step], column[v], acc[r][v]);
  };
  int64_t k = 0;
  for (; k + F::each <= size; k += F::each, w.from += w.step)
    for (int i = 0; i < F::each; ++i) add(k, i);
  if (k < size) add(k, 0);
}

// Rows of a tile: as many as the registers hold beside one column and one broadcast value.
template <int NV>
inline constexpr int tile_rows = RNNMEM_VECTOR_REGISTERS == 32 ? (NV <= 3 ? 8 : 6)
                                                               : (NV <= 2   ? 6
                                                                  : NV == 3 ? 4
                                                                            : 3);

template <int MR, typename T, int NV, typename A, typename B, typename Out>
RNNMEM_INLINE void one_tile(const Rows<A>& a, int64_t row, Columns<B> w, const T* bias, const Out& out) {
  constexpr int each = Factors<A, B>::each;
  Vec<T> acc[MR][NV];
  for (int r = 0; r < MR; ++r)
    for (int v = 0; v < NV; ++v) acc[r][v] = bias ? load(bias + v * lanes<T>) : Vec<T>{};
  for (int p = 0; p < a.parts; ++p) {
    tile<T, MR, NV>(acc, a.part[p] + row, a.step, w, a.size);
    w.from += (a.size + each - 1) / each * w.step;
  }
  out.template take<MR, NV>(acc, row);
}

// Every row of `a` against one panel of columns; `out.take(acc, row)` receives each tile. Bias may be null.
template <typename T, int NV, typename A, typename B, typename Out>
RNNMEM_INLINE void panel_product(const Rows<A>& a, Columns<B> w, const T* bias, const Out& out) {
  constexpr int full = tile_rows<NV>;
  int64_t row = 0;
  // Eight rows go as four and four, not as six and two: two leave too few sums in flight.
  constexpr int64_t halved = full == 6 ? 8 : 0;
  for (; a.count - row >= full && a.count - row != halved; row += full)
    one_tile<full, T, NV>(a, row, w, bias, out);
  if constexpr (full > 4)
    for (; a.count - row >= 4; row += 4) one_tile<4, T, NV>(a, row, w, bias, out);
  for (; a.count - row >= 2; row += 2) one_tile<2, T, NV>(a, row, w, bias, out);
  if (a.count > row) one_tile<1, T, NV>(a, row, w, bias, out);
}

// A piece of another product, to be made beside a row's: rows against one vector of a panel's columns,
// over some of their k; x is [size, rows].
template <typename T, int NV, typename A, typename B>
struct Aside {
  using F = Factors<A, B>;
  static constexpr int rows = RNNMEM_VECTOR_REGISTERS == 32 ? 16 : 4;
  const A* x;
  const B* w;
  int64_t size;   // elements of a row
  const T* bias;  // null to go on with what is there
  T* sum;         // [rows, W]

  RNNMEM_INLINE void begin(Vec<T> (&acc)[rows]) const {
    for (int r = 0; r < rows; ++r) acc[r] = load(bias ? bias : sum + r * lanes<T>);
  }
  // Of one element of the columns, all that goes with it, or the i-th alone.
  RNNMEM_INLINE void add(Vec<T> (&acc)[rows], int64_t element) const {
    for (int i = 0; i < F::each; ++i) add(acc, element, i);
  }
  RNNMEM_INLINE void end(Vec<T> (&acc)[rows]) const {
    if (size % F::each) add(acc, size / F::each, 0);
    for (int r = 0; r < rows; ++r) store(sum + r * lanes<T>, acc[r]);
  }
  __attribute__((noinline)) void make() const {
    Vec<T> acc[rows];
    begin(acc);
    for (int64_t element = 0; element < size / F::each; ++element) add(acc, element);
    end(acc);
  }

 private:
  RNNMEM_INLINE void add(Vec<T> (&acc)[rows], int64_t element, int i) const {
    const auto column = F::column(w + element * NV * lanes<T>, i);
    for (int r = 0; r < rows; ++r) acc[r] = F::product(x[(element * F::each + i) * rows + r], column, acc[r]);
  }
};

// One of a piece's k goes with so many of the row's.
inline constexpr int64_t kAsideEvery = 2;

// One row against P panels of columns, `panel_step` elements apart: on its own a row leaves too few sums in
// flight to hide the latency of a multiply-add. And since it waits for its columns, which are read for it
// alone, a piece of another product may be made meanwhile. `out.take(acc, row, p)` receives each panel's
// tile. Every element is summed as in `tile`: the bits are the same.
template <typename T, int NV, int P, typename A, typename B, typename Out>
RNNMEM_INLINE void row_of_panels(const A* a, int64_t size, const B* w, int64_t panel_step, const T* bias,
                                 const Aside<T, NV, A, B>* aside, const Out& out) {
  using F = Factors<A, B>;
  Vec<T> acc[P][1][NV];
  for (int p = 0; p < P; ++p)
    for (int v = 0; v < NV; ++v) acc[p][0][v] = load(bias + (p * NV + v) * lanes<T>);
  const B* panel[P];
  for (int p = 0; p < P; ++p) panel[p] = w + p * panel_step;
  int64_t k = 0;
  const auto add = [&](int numbers) __attribute__((always_inline)) {
    for (int p = 0; p < P; ++p) {
      for (int i = 0; i < numbers; ++i)
        for (int v = 0; v < NV; ++v)
          acc[p][0][v] = F::product(a[k + i], F::column(panel[p] + v * lanes<T>, i), acc[p][0][v]);
      panel[p] += NV * lanes<T>;
    }
    k += numbers;
  };
  if (aside) {
    const Aside<T, NV, A, B> piece = *aside;
    Vec<T> other[Aside<T, NV, A, B>::rows];
    piece.begin(other);
    for (int64_t element = 0; element < piece.size / F::each; ++element) {
      for (int64_t n = 0; n < kAsideEvery; ++n) add(F::each);
      piece.add(other, element);
    }
    piece.end(other);
  }
  while (k + F::each <= size) add(F::each);
  if (k < size) add(1);
  for (int p = 0; p < P; ++p) out.take(acc[p], 0, p);
}

// Where a panel's tile goes when it is only written: row r at to + r * step.
template <typename T>
struct WriteRows {
  T* to;
  int64_t step;
  template <int MR, int NV>
  RNNMEM_INLINE void take(const Vec<T> (&acc)[MR][NV], int64_t row) const {
    for (int r = 0; r < MR; ++r)
      for (int v = 0; v < NV; ++v) store(to + (row + r) * step + v * lanes<T>, acc[r][v]);
  }
};

// Where a panel's tile goes when it is added to a larger sum in float64: row r at to + r * step, of which
// `width` columns exist.
template <typename T>
struct AddWide {
  double* to;
  int64_t step, width;
  template <int MR, int NV>
  RNNMEM_INLINE void take(const Vec<T> (&acc)[MR][NV], int64_t row) const {
    T sums[NV * lanes<T>];
    for (int r = 0; r < MR; ++r) {
      for (int v = 0; v < NV; ++v) store(sums + v * lanes<T>, acc[r][v]);
      double* at = to + (row + r) * step;
      for (int64_t j = 0; j < width; ++j) at[j] += sums[j];
    }
  }
};

// Some panels of a packed matrix: their columns of out [count, all panels * NV * W] = a w + bias.
template <typename T, int NV, typename A, typename B>
void product(const Rows<A>& a, const B* weight, const T* bias, Range panels, T* out, int64_t out_step) {
  constexpr int64_t columns = NV * lanes<T>, each = Factors<A, B>::each;
  for (int64_t p = panels.first; p < panels.last; ++p) {
    const WriteRows<T> write{out + p * columns, out_step};
    const Columns<B> w{weight + p * a.parts * ((a.size + each - 1) / each) * columns, columns};
    panel_product<T, NV>(a, w, bias + p * columns, write);
  }
}

}  // namespace RNNMEM_ISA
}  // namespace rnnmem
