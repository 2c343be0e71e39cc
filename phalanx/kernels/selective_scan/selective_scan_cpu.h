// File: phalanx/kernels/selective_scan/selective_scan_cpu.h
//
// Purpose: the CPU bodies of the selective scan: raw pointers, one sample and a block of channels at a time.
// Contract: arithmetic S is float (vectors of channels, selective_scan_cpu.cc) or double (plain loops,
//   selective_scan_plain_cpu.cc). What a block computes depends on no other block, so any split over threads gives the
//   same bits; the vectors' width changes none either where the machine has fused multiply-add. Denormal numbers count
//   as zero on x86: states that fade out would otherwise cost a hundred times the normal.
// Units: strides in elements.
#pragma once

#include <cstdint>

namespace phalanx::kernels {

// States are taken this many at a time.
inline constexpr int64_t kScanTile = 8;

// Channel i of row t of sample b is at data[b * sample_stride + t * row_stride + i].
template <typename S>
struct ScanRows {
  S* data = nullptr;
  int64_t sample_stride = 0;
  int64_t row_stride = 0;

  S* row(int64_t b, int64_t t) const { return data + b * sample_stride + t * row_stride; }
};

template <typename S>
struct ScanProblem {
  ScanRows<const S> x;
  ScanRows<const S> dt;
  ScanRows<const S> z;
  ScanRows<const S> B;
  ScanRows<const S> C;
  const S* A = nullptr;  // -exp(A_log)
  const S* D = nullptr;
  const S* dt_bias = nullptr;
  const int64_t* document = nullptr;  // or null; [B, S]
  const S* initial = nullptr;         // or null
  int64_t rows = 0;
  int64_t channels = 0;
  int64_t states = 0;
  int64_t chunk = 1;

  int64_t chunks() const { return (rows + chunk - 1) / chunk; }
  int64_t state_size() const { return channels * states; }
  int64_t padded_states() const { return (states + kScanTile - 1) / kScanTile * kScanTile; }
  // Row t > 0 starts a document.
  bool starts_document(int64_t b, int64_t t) const {
    return t > 0 && document != nullptr && document[b * rows + t] != document[b * rows + t - 1];
  }
};

struct ScanBlock {
  int64_t sample = 0;
  int64_t first_channel = 0;
  int64_t end_channel = 0;
};

template <typename S>
struct ScanResults {
  ScanRows<S> out;
  S* states = nullptr;
  S* final_state = nullptr;
};

template <typename S>
struct ScanAdjoint {
  ScanRows<const S> dout;
  const S* states = nullptr;
  const S* dfinal = nullptr;  // or null
  ScanRows<S> dx;
  ScanRows<S> ddt;
  ScanRows<S> dz;
  S* dB = nullptr;  // of this block, [S, padded_states], added to
  S* dC = nullptr;
  S* dA = nullptr;        // [B, C, N], written
  S* dD = nullptr;        // [B, C]
  S* ddt_bias = nullptr;  // [B, C]
  S* dinitial = nullptr;  // or null
};

template <typename S>
void scan_forward_block(const ScanProblem<S>& p, const ScanBlock& block, const ScanResults<S>& out);

template <typename S>
void scan_backward_block(const ScanProblem<S>& p, const ScanBlock& block, const ScanAdjoint<S>& d);

// Channels of one sequence's next row: row 0 of sample `block.sample` of the inputs and of `out`; `state` [C, N] is
// updated.
template <typename S>
void scan_step_block(const ScanProblem<S>& p, const ScanBlock& block, const ScanRows<S>& out, S* state);

}  // namespace phalanx::kernels
