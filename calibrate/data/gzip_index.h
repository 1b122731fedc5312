// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <zlib.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "calibrate/data/input_file.h"

namespace kvcalib {

// One inflating stream of zlib.  `window_bits` as for inflateInit2: 31 for gzip, -15 for raw
// deflate.
class InflateStream {
 public:
  explicit InflateStream(int window_bits);
  InflateStream(const InflateStream&) = delete;
  InflateStream& operator=(const InflateStream&) = delete;
  ~InflateStream();

  z_stream* operator->() { return &stream_; }
  z_stream* get() { return &stream_; }

 private:
  z_stream stream_{};
};

// Places in a gzip file (RFC 1952; one or several members) from which its contents can be inflated.
class GzipIndex {
 public:
  // The bytes [offset, offset + count) of the contents of `file`, inflated from the nearest place
  // before.  Throws Error naming the file when it is no longer the one that was indexed.
  std::string read(const InputFile& file, uint64_t offset, size_t count) const;
  // Host memory that the index holds.
  size_t memory_bytes() const;

 private:
  friend class GzipScanner;

  struct Place {
    uint64_t offset = 0;       // in the contents
    uint64_t file_offset = 0;  // of the first byte not yet taken
    int bits = 0;              // of the byte before, not yet taken: 0 to 7
    bool member_start = false;
    std::string packed_window;  // the 32 KiB before `offset`, deflated
  };
  std::vector<Place> places_;
};

// Inflates a gzip file that arrives in pieces and indexes it: a place about every MiB of contents,
// where a deflate block or a member begins.  Memory is one window and the index.
class GzipScanner {
 public:
  // `name` begins the messages.
  explicit GzipScanner(std::string name);

  // Takes the next bytes of the file and gives the contents found in them to `sink`.  Throws Error
  // for what is not gzip and for damage.  Zero bytes behind a member are ignored.
  void feed(std::string_view bytes, const ByteConsumer& sink);
  // To be called at the file's end.  Throws Error when it is cut off.
  GzipIndex finish();

 private:
  bool begin_member();
  void inflate_some(const ByteConsumer& sink);
  void add_place(bool member_start);

  std::string name_;
  InflateStream stream_;
  GzipIndex index_;
  std::vector<unsigned char> output_;
  uint64_t file_offset_ = 0;  // of the end of the bytes fed
  uint64_t offset_ = 0;       // in the contents
  int64_t members_ = 0;
  bool between_members_ = true;
};

}  // namespace kvcalib
