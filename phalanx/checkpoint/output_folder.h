// File: phalanx/checkpoint/output_folder.h
//
// Purpose: a folder that appears under its name complete or not at all: files go into a temporary folder beside it,
//   publish() renames. For checkpoints and exported models.
// Contract: without publish() the destructor removes everything; what stood under the name is untouched until then and
//   is replaced as a whole (swapped in one step where the file system can). What a killed process left for the same name
//   is removed when the next one starts. A name that is a link is followed.
// Errors: Error(kIo) naming the final folder.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace phalanx {

// A small file that travels along. `name` is relative; its folder, if any, is made.
struct ExtraFile {
  std::string name;
  std::string bytes;
};

class OutputFolder {
 public:
  explicit OutputFolder(const std::string& final_path);
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  const std::string& path() const { return temporary_; }  // write here
  void add(const ExtraFile& file);
  void publish();

 private:
  void replace_existing();
  std::string final_;
  std::string temporary_;
};

// May `folder` be written to? One that holds files only when `overwrite` is set and `is_ours` knows every name in it, so
// that nothing is lost but what a call like this one has written. Error(kUsage) otherwise.
void require_replaceable(const std::string& folder, bool overwrite,
                         const std::function<bool(const std::string& name)>& is_ours);

// Names in `folder`, sorted; none when there is no such folder.
std::vector<std::string> names_in(const std::string& folder);

}  // namespace phalanx
