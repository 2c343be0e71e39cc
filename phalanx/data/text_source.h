// File: phalanx/data/text_source.h
//
// Purpose: which files a corpus is made of, in which order, and what each holds.
// Contract: inputs keep the order in which they are given; a folder stands for all its files, sub-folders included,
//   sorted by path, without hidden ones (a name that begins with a dot) and without the paths in `skip`; a pattern with
//   * ? or [ that is no file's name stands for the files it matches, sorted. The format of a file:
//     .jsonl .ndjson .json (with .gz or .zst behind it or not)   one JSON object a line
//     .txt .md .rst ...                                          one document a file
//     any other name   lines when the first line that is not blank is a whole JSON object, else one document
// Errors: nothing there is Error(kIo), a folder without files or an input that is no regular file Error(kBadInput).
// Units: bytes; nanoseconds since 1970 for times.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace phalanx {

enum class TextFormat { kAuto, kJsonLines, kDocument };

struct TextFile {
  std::string path;
  TextFormat format = TextFormat::kDocument;
  int64_t size = 0;  // on disk, packed or not
  int64_t modified = 0;
  bool operator==(const TextFile&) const = default;
};

// Size and time of a file as they are now.
TextFile stat_text_file(const std::string& path);

// `format` other than kAuto holds for every file. `skip`: absolute, normal paths (and all below them) to leave out of
// folders: what this program itself wrote there.
std::vector<TextFile> list_text_files(const std::vector<std::string>& inputs, TextFormat format,
                                      const std::set<std::string>& skip);

// The path as `skip` spells it.
std::string normal_path(const std::string& path);

}  // namespace phalanx
