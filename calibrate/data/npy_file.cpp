// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/npy_file.h"

#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <regex>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::string_view kMagic("\x93NUMPY", 6);
constexpr uint64_t kLongestHeader = 10000;  // numpy's own limit

uint64_t little_endian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

struct Header {
  std::string text;
  uint64_t end;  // where the data begin
};

Header read_header(const InputFile& file) {
  std::array<char, 12> fixed{};
  const size_t count = file.read(0, fixed);
  const std::string_view bytes(fixed.data(), count);
  if (!bytes.starts_with(kMagic)) throw Error(concat(file.name(), ": is not a NumPy file"));
  const int version = count > kMagic.size() ? bytes[kMagic.size()] : 0;
  if (version < 1 || version > 3) {
    throw Error(
        concat(file.name(), ": has version ", version, " of the NumPy format; expected 1, 2 or 3"));
  }
  const size_t length_bytes = version == 1 ? 2 : 4;
  const size_t begin = 8 + length_bytes;
  if (count < begin) throw Error(concat(file.name(), ": is cut off in its header"));
  const uint64_t length = little_endian(bytes.substr(8, length_bytes));
  if (length > kLongestHeader) {
    throw Error(concat(file.name(), ": states a header of ", length, " bytes, expected at most ",
                       kLongestHeader, "; not a file of token ids"));
  }
  Header header{std::string(length, '\0'), begin + length};
  if (file.read(begin, header.text) != length) {
    throw Error(concat(file.name(), ": is cut off in its header"));
  }
  return header;
}

// The value of `key` in the header, a Python literal of the form `value`.
std::string value_of(const std::string& header, const std::string& key, const std::string& value,
                     const std::string& name) {
  std::smatch match;
  const std::regex entry(concat("[{,]\\s*['\"]", key, "['\"]\\s*:\\s*", value, "\\s*[,}]"));
  if (!std::regex_search(header, match, entry)) {
    throw Error(
        concat(name, ": its header has no plain '", key, "'; expected an array of int32 or int64"));
  }
  return match[1];
}

std::vector<int64_t> shape_of(const std::string& text, const std::string& name) {
  std::vector<int64_t> shape;
  const std::regex number("\\d+");
  for (std::sregex_iterator it(text.begin(), text.end(), number), end; it != end; ++it) {
    const std::string digits = it->str();
    if (digits.size() > 15) throw Error(concat(name, ": has the impossible shape (", text, ")"));
    shape.push_back(std::stoll(digits));
  }
  return shape;
}

}  // namespace

NpyReader::NpyReader(const std::filesystem::path& path) : file_(path) {
  const Header header = read_header(file_);
  data_offset_ = header.end;
  parse_header(header.text);
  // Each factor has at most 50 bits; the sum of the two must stay in 63 with room to spare.
  const int64_t limit = std::numeric_limits<int64_t>::max() / 16;
  if (columns_ > 0 && rows_ > limit / columns_) {
    throw Error(concat(name(), ": has the impossible shape (", rows_, ", ", columns_, ")"));
  }
  const uint64_t expected = data_offset_ + static_cast<uint64_t>(rows_ * columns_ * element_bytes_);
  const uint64_t bytes = std::filesystem::file_size(path);
  if (bytes != expected) {
    throw Error(concat(name(), ": has ", bytes, " bytes, its shape needs ", expected,
                       "; cut off or damaged"));
  }
}

void NpyReader::parse_header(const std::string& header) {
  const std::string type = value_of(header, "descr", "['\"]([^'\"]*)['\"]", name());
  if (type != "<i4" && type != "<i8") {
    throw Error(concat(name(), ": has elements of type '", type,
                       "'; expected int32 ('<i4') or int64 ('<i8'); use array.astype('int32')"));
  }
  element_bytes_ = type == "<i4" ? 4 : 8;
  const std::string order = value_of(header, "fortran_order", "(True|False)", name());
  const std::string text = value_of(header, "shape", "\\(([\\d\\s,L]*)\\)", name());
  const std::vector<int64_t> shape = shape_of(text, name());
  dimensions_ = static_cast<int64_t>(shape.size());
  if (dimensions_ != 1 && dimensions_ != 2) {
    throw Error(concat(name(), ": has ", dimensions_, " dimensions (", text,
                       "); expected two (windows) or one (a stream of tokens)"));
  }
  if (order == "True" && dimensions_ == 2) {
    throw Error(concat(name(), ": is in Fortran order; use numpy.ascontiguousarray(array)"));
  }
  rows_ = dimensions_ == 2 ? shape[0] : 1;
  columns_ = shape.back();
}

std::vector<int64_t> NpyReader::read(int64_t first, int64_t count) const {
  const uint64_t offset = data_offset_ + static_cast<uint64_t>(first * element_bytes_);
  const std::string bytes = file_.read_exactly(offset, static_cast<size_t>(count * element_bytes_));
  std::vector<int64_t> ids(count);
  if (element_bytes_ == 8) {
    std::memcpy(ids.data(), bytes.data(), bytes.size());
  } else {
    std::vector<int32_t> narrow(count);
    std::memcpy(narrow.data(), bytes.data(), bytes.size());
    ids.assign(narrow.begin(), narrow.end());
  }
  return ids;
}

std::string NpyReader::position(int64_t index) const {
  if (dimensions_ == 1) return concat("position ", index);
  return concat("row ", index / columns_, ", column ", index % columns_);
}

}  // namespace kvcalib
