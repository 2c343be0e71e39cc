// File: phalanx/train/rank_threads.h
//
// Purpose: a run on all ranks of its mesh, as threads of this process.
// Contract: one rank runs in the caller's thread. `loaded` is called once, by rank 0, when every rank is built and has its
//   weights. The first error of a rank stops the others and is thrown here. The summary is rank 0's.
//   Every rank's flight recorder lies in RUN_DIR/flight; after an Error(kPeer) its last operations are logged.
// Errors: those of Trainer; Error(kPeer) for a rank that is late or dead.
#pragma once

#include <functional>
#include <memory>

#include "phalanx/train/trainer.h"

namespace phalanx {

TrainSummary train_all_ranks(const RunConfig& config, std::shared_ptr<const Tokenizer> tokenizer,
                             InterruptGuard& interrupt, const std::function<void()>& loaded);

}  // namespace phalanx
