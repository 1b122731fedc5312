// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/npy_file.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <string_view>

#include "sharding/files/error.h"
#include "sharding/files/excerpt.h"

namespace kvcalib {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::string_view kMagic("\x93NUMPY", 6);
constexpr uint64_t kLongestHeader = 10000;  // numpy's own limit
constexpr size_t kMostDigits = 15;          // of an extent: two of them make no more than 63 bits

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

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n\f\v";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

bool is_quote(char c) { return c == '\'' || c == '"'; }

// What stands between the quotes, where `literal` is a string and no more.
std::optional<std::string_view> unquoted(std::string_view literal) {
  if (literal.size() < 2 || !is_quote(literal.front()) || literal.back() != literal.front())
    return std::nullopt;
  const std::string_view text = literal.substr(1, literal.size() - 2);
  return text.find(literal.front()) == std::string_view::npos ? std::optional(text) : std::nullopt;
}

// The end of what stands before the first of `marks` that no quotes and no brackets hold.
size_t find_outside(std::string_view text, std::string_view marks) {
  char quote = '\0';
  int64_t depth = 0;
  for (size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (quote != '\0') {
      if (c == quote) quote = '\0';
    } else if (depth == 0 && marks.find(c) != std::string_view::npos) {
      return at;
    } else if (is_quote(c)) {
      quote = c;
    } else if (c == '(' || c == '[' || c == '{') {
      ++depth;
    } else if (c == ')' || c == ']' || c == '}') {
      --depth;
    }
  }
  return text.size();
}

// The header, a Python dictionary of literals: of each key, its value's text.
std::map<std::string, std::string_view, std::less<>> entries_of(std::string_view header) {
  std::map<std::string, std::string_view, std::less<>> entries;
  header = trimmed(header);
  if (!header.starts_with('{') || !header.ends_with('}')) return entries;
  for (header = header.substr(1, header.size() - 2); !header.empty();) {
    const size_t end = find_outside(header, ",");
    const std::string_view entry = header.substr(0, end);
    const size_t divider = find_outside(entry, ":");
    const auto key = unquoted(trimmed(entry.substr(0, divider)));
    if (key && divider < entry.size()) entries.emplace(*key, trimmed(entry.substr(divider + 1)));
    header.remove_prefix(std::min(end + 1, header.size()));
  }
  return entries;
}

[[noreturn]] void refuse_entry(const std::string& name, std::string_view key) {
  throw Error(
      concat(name, ": its header has no plain '", key, "'; expected an array of int32 or int64"));
}

// The numbers of a tuple, "(2, 3)"; Python 2 wrote "(2L, 3L)".
std::vector<int64_t> shape_of(std::string_view tuple, const std::string& name) {
  if (!tuple.starts_with('(') || !tuple.ends_with(')') ||
      tuple.find_first_not_of("0123456789, \t\r\n\f\vL", 1) != tuple.size() - 1)
    refuse_entry(name, "shape");
  std::vector<int64_t> shape;
  const auto is_digit = [&](size_t at) { return tuple[at] >= '0' && tuple[at] <= '9'; };
  for (size_t at = 0; at < tuple.size(); ++at) {
    if (!is_digit(at)) continue;
    const size_t begin = at;
    int64_t number = 0;
    for (; is_digit(at); ++at) {
      if (at - begin == kMostDigits)
        throw Error(concat(name, ": has the impossible shape ", excerpt(tuple)));
      number = 10 * number + (tuple[at] - '0');
    }
    shape.push_back(number);
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
  const uint64_t bytes = file_.bytes();
  if (bytes != expected) {
    throw Error(concat(name(), ": has ", bytes, " bytes, its shape needs ", expected,
                       "; cut off or damaged"));
  }
}

void NpyReader::parse_header(const std::string& header) {
  const auto entries = entries_of(header);
  const auto literal = [&](std::string_view key) {
    const auto found = entries.find(key);
    if (found == entries.end()) refuse_entry(name(), key);
    return found->second;
  };
  const auto type = unquoted(literal("descr"));
  if (!type) refuse_entry(name(), "descr");
  if (type != "<i4" && type != "<i8") {
    throw Error(concat(name(), ": has elements of type '", excerpt(*type),
                       "'; expected int32 ('<i4') or int64 ('<i8'); use array.astype('int32')"));
  }
  element_bytes_ = type == "<i4" ? 4 : 8;
  const std::string_view order = literal("fortran_order");
  if (order != "True" && order != "False") refuse_entry(name(), "fortran_order");
  const std::string_view tuple = literal("shape");
  const std::vector<int64_t> shape = shape_of(tuple, name());
  dimensions_ = static_cast<int64_t>(shape.size());
  if (dimensions_ != 1 && dimensions_ != 2) {
    throw Error(concat(name(), ": has ", dimensions_, " dimensions ", excerpt(tuple),
                       "; expected two (windows) or one (a stream of tokens)"));
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
