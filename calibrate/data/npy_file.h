// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "calibrate/data/input_file.h"

namespace kvcalib {

// A NumPy file of token ids (format 1, 2 or 3 of numpy.lib.format), open to any of them: int32 or
// int64, little-endian, C order, one or two dimensions.
class NpyReader {
 public:
  // Throws Error naming the file for anything else, and for a size that is not the shape's.
  explicit NpyReader(const std::filesystem::path& path);

  int64_t dimensions() const { return dimensions_; }
  int64_t rows() const { return rows_; }        // 1 for a file of one dimension
  int64_t columns() const { return columns_; }  // its length there
  // `count` ids from the one at `first` on, in C order; the caller stays inside the shape.
  std::vector<int64_t> read(int64_t first, int64_t count) const;
  // "row 3, column 17", or "position 17" for one dimension.
  std::string position(int64_t index) const;
  const std::string& name() const { return file_.name(); }

 private:
  void parse_header(const std::string& header);

  InputFile file_;
  uint64_t data_offset_ = 0;
  int64_t element_bytes_ = 0;
  int64_t dimensions_ = 0;
  int64_t rows_ = 1;
  int64_t columns_ = 0;
};

}  // namespace kvcalib
