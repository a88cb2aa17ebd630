// The input side of the gates, tile of time by tile of time: W_ih x + b_ih as one product, or rows of a gate
// table, by pointer.
#pragma once

#include "cpu/gemm.h"
#include "cpu/memory.h"
#include "job.h"
#include "turn.h"

namespace rnnmem {
inline namespace RNNMEM_ISA {

template <typename T, int NV, typename Weight = T, typename X = T>
class InputSide {
  using Piece = Aside<T, NV, X, Weight>;
  static constexpr int64_t W = lanes<T>, M = Piece::rows, each = Piece::F::each;

 public:
  // `units` are the panels whose gates are wanted.
  InputSide(const Scan<T, Weight, X>& scan, const Panels& panels, Range units, int64_t rows_most)
      : scan_(scan),
        panels_(panels),
        units_(units),
        size_(elements<X>(scan.input_size)),
        rows_most_((rows_most + M - 1) / M * M),
        goes_ahead_(scan.weight_ih && scan.streams == 1 && scan.input_size >= kAheadLeast &&
                    scan.hidden_size >= kAheadLeast),
        gates_(scan.weight_ih ? (goes_ahead_ ? 2 : 1) * rows_most_ * panels.row() : 0),
        gate_row_(rows_most),
        x_row_(rows_most),
        x_(goes_ahead_ ? rows_most_ * size_ : 0) {}

  // Of steps [t, t + steps) of streams [stream, stream + rows): packed gates, by row.
  const T* const* take(int64_t t, int64_t steps, int64_t stream, int64_t rows) {
    const T** gate_row = gate_row_.get();
    const int64_t count = steps * rows;
    if constexpr (std::is_same_v<X, T>)
      if (!scan_.weight_ih) {
        for (int64_t i = 0; i < count; ++i) gate_row[i] = row_at(t + i / rows, stream + i % rows);
        return gate_row;
      }
    if (goes_ahead_) {
      if (!pieces_) begin(t, steps, 1);
      while (made_ < pieces_) next_piece().make();
      pieces_ = 0;
      half_ = 1 - half_;
    } else {
      for (int64_t i = 0; i < count; ++i) x_row_.get()[i] = row_at(t + i / rows, stream + i % rows);
      const Rows<X> x{{x_row_.get(), nullptr}, 1, count, size_, 1};
      product<T, NV>(x, scan_.weight_ih, scan_.bias_ih, units_, gates(half_), panels_.row());
    }
    for (int64_t i = 0; i < count; ++i)
      gate_row[i] = gates(half_) + (goes_ahead_ ? i / M * M * panels_.row() + i % M * W : i * panels_.row());
    return gate_row;
  }

  // From one vector of a row to the next.
  int64_t vector_step() const { return goes_ahead_ ? M * W : W; }

  // Begins what `take` will be asked for next, of a single stream. It is made in pieces, by `aside`, of which
  // there will be so many calls.
  void begin(int64_t t, int64_t steps, int64_t calls) {
    if (!goes_ahead_) return;
    constexpr int64_t size = Block<X>::size;
    for (int64_t i = 0; i < steps; i += size) {
      const X* x[size];  // the last row stands in for those beyond it, whose gates nobody takes
      for (int64_t n = 0; n < size; ++n) x[n] = row_at(t + smaller(i + n, steps - 1), 0);
      X* to = x_.get() + i / M * M * size_ + i % M;
      int64_t k = 0;
      for (; k + size <= size_; k += size) Block<X>::turn(x, k, to + k * M, M);
      for (; k < size_; ++k)
        for (int64_t n = 0; n < size; ++n) to[k * M + n] = x[n][k];
    }
    row_tiles_ = (steps + M - 1) / M;
    // Pieces end where an element of the weights does.
    const int64_t most = elements<X>(scan_.hidden_size) / kAsideEvery / each * each;
    piece_size_ = smaller(size_, most);
    tile_pieces_ = (size_ + piece_size_ - 1) / piece_size_;
    pieces_ = (units_.last - units_.first) * NV * tile_pieces_ * row_tiles_;
    made_ = called_ = 0;
    calls_ = calls;
  }

  // Whether a piece is due; then it is in `piece`, for the caller to make.
  bool aside(Piece& piece) {
    if (!pieces_) return false;
    const int64_t due = smaller(pieces_, (++called_ * pieces_ + calls_ - 1) / calls_);
    if (made_ == due) return false;
    while (made_ + 1 < due) next_piece().make();
    piece = next_piece();
    return true;
  }

 private:
  static constexpr int64_t kAheadLeast = 32;

  const X* row_at(int64_t t, int64_t stream) const {
    const int64_t at = t * scan_.time_stride + stream * scan_.stream_stride;
    return scan_.inputs + (scan_.tokens ? scan_.tokens[at] * scan_.row_size : at);
  }
  T* gates(int half) const { return gates_.get() + half * rows_most_ * panels_.row(); }

  // Rows change first, so that a piece of the weights is read again while it is near; k last.
  Piece next_piece() {
    const int64_t n = made_++, rows = n % row_tiles_ * M, part = n / row_tiles_ % tile_pieces_,
                  column = units_.first * NV + n / row_tiles_ / tile_pieces_, k = part * piece_size_;
    const int64_t panel = column / NV, v = column % NV;
    return {x_.get() + rows * size_ + k * M,
            scan_.weight_ih + ((panel * ((size_ + each - 1) / each) + k / each) * NV + v) * W,
            smaller(piece_size_, size_ - k), part ? nullptr : scan_.bias_ih + column * W,
            gates(1 - half_) + rows * panels_.row() + column * M * W};
  }

  const Scan<T, Weight, X>& scan_;
  const Panels panels_;
  const Range units_;
  const int64_t size_;  // elements of a row of x
  const int64_t rows_most_;
  const bool goes_ahead_;
  Buffer<T> gates_;  // of the tile that was taken, and of the one that is begun
  Buffer<const T*> gate_row_;
  Buffer<const X*> x_row_;
  Buffer<X> x_;  // [rows / M][I][M] of the tile that is begun
  int half_ = 0;
  int64_t row_tiles_ = 0, piece_size_ = 0, tile_pieces_ = 0;
  int64_t pieces_ = 0, made_ = 0, calls_ = 0, called_ = 0;
};

}  // namespace RNNMEM_ISA
}  // namespace rnnmem
