// SPDX-License-Identifier: Apache-2.0
#include "convert/out.hpp"

namespace convert {

namespace fs = std::filesystem;
using base::Exit, base::UserError;

NewFolder::NewFolder(fs::path path) : path_(std::move(path)) {
  std::error_code error;
  const bool there = fs::exists(fs::symlink_status(path_, error));
  if (there && !(fs::is_directory(path_, error) && fs::is_empty(path_, error)))
    throw UserError(Exit::checkpoint, "E147", path_.string(),
                    fs::is_directory(path_, error) ? "is not empty" : "exists and is not a folder",
                    "Converters write into a new folder and replace nothing; give another --out.");
  made_ = !there;
  fs::create_directories(path_, error);
  if (error)
    throw UserError(Exit::checkpoint, "E147", path_.string(), "cannot be made: " + error.message(),
                    "Check the path and its permissions.");
}

NewFolder::~NewFolder() {
  if (kept_) return;
  std::error_code error;
  for (const auto &entry : fs::directory_iterator(path_, error))
    fs::remove_all(entry.path(), error);
  if (made_) fs::remove(path_, error);
}

} // namespace convert
