// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "sharding/files/error.h"

namespace kvcalib {

// Values as bytes, for messages between processes of one program and for files that only it reads:
// numbers as this machine has them, the length of every array before it.  What is no number and no
// array has a function template in its own namespace that hands its members to either archive:
//
//   template <typename Archive, SameAs<Pair> T>
//   void members(Archive& archive, T& pair) { archive(pair.first, pair.second); }

template <typename T, typename Value>
concept SameAs = std::is_same_v<std::remove_const_t<T>, Value>;

template <typename T>
inline constexpr bool kIsPlainNumber = std::is_arithmetic_v<T> || std::is_enum_v<T>;

class ArchiveWriter {
 public:
  template <typename... T>
  void operator()(const T&... values) {
    (write(values), ...);
  }
  std::string take() { return std::move(bytes_); }

 private:
  void append(const void* data, size_t size) {
    bytes_.append(static_cast<const char*>(data), size);
  }
  template <typename T>
  void write(const T& value) {
    if constexpr (kIsPlainNumber<T>)
      append(&value, sizeof(value));
    else
      members(*this, value);
  }
  template <typename T>
  void write(const std::vector<T>& values) {
    write(static_cast<uint64_t>(values.size()));
    if constexpr (kIsPlainNumber<T>)
      append(values.data(), values.size() * sizeof(T));
    else
      for (const T& value : values) write(value);
  }
  void write(const std::string& text) {
    write(static_cast<uint64_t>(text.size()));
    append(text.data(), text.size());
  }
  template <typename T>
  void write(const std::optional<T>& value) {
    write(static_cast<uint8_t>(value.has_value()));
    if (value) write(*value);
  }

  std::string bytes_;
};

class ArchiveReader {
 public:
  // `origin` names the bytes in messages; both outlive the reader.
  ArchiveReader(std::string_view bytes, const std::string& origin)
      : bytes_(bytes), origin_(origin) {}

  // Throws Error naming the origin when the bytes end too early.
  template <typename... T>
  void operator()(T&... values) {
    (read(values), ...);
  }
  // Throws Error when there is more.
  void end() const {
    if (!bytes_.empty()) damaged();
  }

 private:
  void take(void* target, size_t size) {
    if (size > bytes_.size()) damaged();
    if (size > 0) std::memcpy(target, bytes_.data(), size);
    bytes_.remove_prefix(size);
  }
  // No element of an array takes less than a byte.
  size_t count(size_t element) {
    uint64_t count = 0;
    read(count);
    if (count > bytes_.size() / element) damaged();
    return static_cast<size_t>(count);
  }
  template <typename T>
  void read(T& value) {
    if constexpr (std::is_same_v<T, bool>)
      value = read_flag();
    else if constexpr (kIsPlainNumber<T>)
      take(&value, sizeof(value));
    else
      members(*this, value);
  }
  bool read_flag() {
    uint8_t flag = 0;
    take(&flag, sizeof(flag));
    if (flag > 1) damaged();
    return flag != 0;
  }
  template <typename T>
  void read(std::vector<T>& values) {
    if constexpr (kIsPlainNumber<T>) {
      values.resize(count(sizeof(T)));
      take(values.data(), values.size() * sizeof(T));
    } else {  // one by one: what is not there takes no memory
      values.clear();
      for (size_t left = count(1); left > 0; --left) read(values.emplace_back());
    }
  }
  void read(std::string& text) {
    text.resize(count(1));
    take(text.data(), text.size());
  }
  template <typename T>
  void read(std::optional<T>& value) {
    value.reset();
    if (read_flag()) read(value.emplace());
  }
  [[noreturn]] void damaged() const {
    throw Error(concat(origin_, ": is damaged; take it away and run again"));
  }

  std::string_view bytes_;
  const std::string& origin_;
};

// A value as bytes, and back.  from_archive throws Error naming `origin` for bytes that are not of
// one T.
template <typename T>
std::string to_archive(const T& value) {
  ArchiveWriter writer;
  writer(value);
  return writer.take();
}
template <typename T>
T from_archive(std::string_view bytes, const std::string& origin) {
  T value;
  ArchiveReader reader(bytes, origin);
  reader(value);
  reader.end();
  return value;
}

}  // namespace kvcalib
