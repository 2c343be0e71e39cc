// The fp64 bodies: one channel after another, plain loops.
#include <algorithm>
#include <cmath>
#include <vector>

#include "phalanx/kernels/flush_denormals.h"
#include "phalanx/kernels/selective_scan/selective_scan_cpu.h"

namespace phalanx::kernels {
namespace {

constexpr double kLinearAbove = 20.0;

double softplus(double x) {
  return x > kLinearAbove ? x : std::log1p(std::exp(x));
}

double sigmoid(double x) {
  return 1.0 / (1.0 + std::exp(-x));
}

double softplus_slope(double x) {
  return x > kLinearAbove ? 1.0 : sigmoid(x);
}

// One channel of one sample.
struct Channel {
  const ScanProblem<double>& p;
  int64_t sample;
  int64_t channel;

  double x(int64_t t) const { return p.x.row(sample, t)[channel]; }
  double z(int64_t t) const { return p.z.row(sample, t)[channel]; }
  double biased(int64_t t) const { return p.dt.row(sample, t)[channel] + p.dt_bias[channel]; }
  double A(int64_t n) const { return p.A[channel * p.states + n]; }
  int64_t state_at() const { return sample * p.state_size() + channel * p.states; }
  int64_t state_at(int64_t c) const {
    return (sample * p.chunks() + c) * p.state_size() + channel * p.states;
  }

  // h becomes the state after row t, `decay` its exp(delta A); returns y.
  double advance(int64_t t, double* h, double* decay) const {
    const double delta = softplus(biased(t));
    const bool reset = p.starts_document(sample, t);
    double y = p.D[channel] * x(t);
    for (int64_t n = 0; n < p.states; ++n) {
      decay[n] = std::exp(delta * A(n));
      h[n] = (reset ? 0.0 : decay[n] * h[n]) + delta * x(t) * p.B.row(sample, t)[n];
      y += h[n] * p.C.row(sample, t)[n];
    }
    return y;
  }
};

void forward_channel(const Channel& c, const ScanResults<double>& out) {
  const ScanProblem<double>& p = c.p;
  std::vector<double> h(p.states);
  std::vector<double> decay(p.states);
  if (p.initial != nullptr) std::copy_n(p.initial + c.state_at(), p.states, h.data());
  for (int64_t t = 0; t < p.rows; ++t) {
    if (t % p.chunk == 0) std::copy(h.begin(), h.end(), out.states + c.state_at(t / p.chunk));
    const double y = c.advance(t, h.data(), decay.data());
    out.out.row(c.sample, t)[c.channel] = y * c.z(t) * sigmoid(c.z(t));
  }
  std::copy(h.begin(), h.end(), out.final_state + c.state_at());
}

// A chunk's rows run again: the state before each row and after the last, the decays, y.
struct Rerun {
  std::vector<double> h;
  std::vector<double> decay;
  std::vector<double> y;

  Rerun(const Channel& c, const double* start, int64_t begin, int64_t end) {
    const int64_t states = c.p.states;
    h.assign((end - begin + 1) * states, 0.0);
    decay.assign((end - begin) * states, 0.0);
    y.assign(end - begin, 0.0);
    std::copy_n(start, states, h.data());
    for (int64_t r = 0; r < end - begin; ++r) {
      std::copy_n(h.data() + r * states, states, h.data() + (r + 1) * states);
      y[r] = c.advance(begin + r, h.data() + (r + 1) * states, decay.data() + r * states);
    }
  }
};

void backward_channel(const Channel& c, const ScanAdjoint<double>& d) {
  const ScanProblem<double>& p = c.p;
  std::vector<double> carried(p.states);
  if (d.dfinal != nullptr) std::copy_n(d.dfinal + c.state_at(), p.states, carried.data());
  double* dA = d.dA + c.state_at();
  std::fill_n(dA, p.states, 0.0);
  double dD = 0.0;
  double ddt_bias = 0.0;
  for (int64_t chunk = p.chunks() - 1; chunk >= 0; --chunk) {
    const int64_t begin = chunk * p.chunk;
    const int64_t end = std::min(p.rows, begin + p.chunk);
    const Rerun rerun(c, d.states + c.state_at(chunk), begin, end);
    for (int64_t t = end - 1; t >= begin; --t) {
      const double* before = rerun.h.data() + (t - begin) * p.states;
      const double* decay = rerun.decay.data() + (t - begin) * p.states;
      const bool reset = p.starts_document(c.sample, t);
      const double delta = softplus(c.biased(t));
      const double gate = sigmoid(c.z(t));
      const double g = d.dout.row(c.sample, t)[c.channel];
      const double dy = g * c.z(t) * gate;
      double s = 0.0;
      double ddelta = 0.0;
      for (int64_t n = 0; n < p.states; ++n) {
        const double B = p.B.row(c.sample, t)[n];
        const double lambda = dy * p.C.row(c.sample, t)[n] + carried[n];
        const double q = reset ? 0.0 : decay[n] * before[n];
        d.dC[t * p.padded_states() + n] += dy * before[p.states + n];
        d.dB[t * p.padded_states() + n] += lambda * delta * c.x(t);
        s += lambda * B;
        ddelta += lambda * c.A(n) * q;
        dA[n] += lambda * delta * q;
        carried[n] = reset ? 0.0 : decay[n] * lambda;
      }
      const double ddt = (s * c.x(t) + ddelta) * softplus_slope(c.biased(t));
      d.dx.row(c.sample, t)[c.channel] = dy * p.D[c.channel] + s * delta;
      d.ddt.row(c.sample, t)[c.channel] = ddt;
      d.dz.row(c.sample, t)[c.channel] = g * rerun.y[t - begin] * gate * (1.0 + c.z(t) * (1.0 - gate));
      dD += dy * c.x(t);
      ddt_bias += ddt;
    }
  }
  d.dD[c.sample * p.channels + c.channel] = dD;
  d.ddt_bias[c.sample * p.channels + c.channel] = ddt_bias;
  if (d.dinitial != nullptr) std::copy_n(carried.data(), p.states, d.dinitial + c.state_at());
}

}  // namespace

template <>
void scan_forward_block(const ScanProblem<double>& p, const ScanBlock& block,
                        const ScanResults<double>& out) {
  const FlushDenormals flush;
  for (int64_t i = block.first_channel; i < block.end_channel; ++i) {
    forward_channel({p, block.sample, i}, out);
  }
}

template <>
void scan_backward_block(const ScanProblem<double>& p, const ScanBlock& block, const ScanAdjoint<double>& d) {
  const FlushDenormals flush;
  for (int64_t i = block.first_channel; i < block.end_channel; ++i) {
    backward_channel({p, block.sample, i}, d);
  }
}

template <>
void scan_step_block(const ScanProblem<double>& p, const ScanBlock& block, const ScanRows<double>& out,
                     double* state) {
  const FlushDenormals flush;
  std::vector<double> decay(p.states);
  for (int64_t i = block.first_channel; i < block.end_channel; ++i) {
    const Channel c{p, block.sample, i};
    const double y = c.advance(0, state + i * p.states, decay.data());
    out.row(block.sample, 0)[i] = y * c.z(0) * sigmoid(c.z(0));
  }
}

}  // namespace phalanx::kernels
