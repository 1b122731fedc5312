// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/gzip_index.h"

#include <algorithm>
#include <array>
#include <new>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr int kGzip = 15 + 16;
constexpr int kRawDeflate = -15;
constexpr uint64_t kSpacing = 1 << 20;  // of the places, in bytes of contents
constexpr size_t kWindowBytes = 1 << 15;
constexpr size_t kPieceBytes = 1 << 16;
constexpr size_t kTrailerBytes = 8;  // CRC-32 and length at a member's end

std::string pack_window(z_stream* stream) {
  std::array<unsigned char, kWindowBytes> window{};
  uInt count = 0;
  inflateGetDictionary(stream, window.data(), &count);
  uLongf packed = compressBound(count);
  std::string bytes(packed, '\0');
  const int status = compress2(reinterpret_cast<unsigned char*>(bytes.data()), &packed,
                               window.data(), count, Z_BEST_SPEED);
  if (status != Z_OK) throw std::bad_alloc();
  bytes.resize(packed);
  bytes.shrink_to_fit();
  return bytes;
}

void restore_window(z_stream* stream, const std::string& packed) {
  std::array<unsigned char, kWindowBytes> window{};
  uLongf count = window.size();
  const int status = uncompress(
      window.data(), &count, reinterpret_cast<const unsigned char*>(packed.data()), packed.size());
  if (status != Z_OK) throw std::bad_alloc();
  inflateSetDictionary(stream, window.data(), static_cast<uInt>(count));
}

unsigned char* writable(const char* bytes) {  // zlib does not write to its input
  return reinterpret_cast<unsigned char*>(const_cast<char*>(bytes));
}

// Reads the contents of a gzip file in order, from a place on.
class Reader {
 public:
  Reader(const InputFile& file, uint64_t file_offset, int bits, const std::string* packed_window)
      : file_(file),
        stream_(packed_window == nullptr ? kGzip : kRawDeflate),
        raw_(packed_window != nullptr),
        file_offset_(file_offset) {
    if (!raw_) return;
    if (bits > 0) {
      const auto before = static_cast<unsigned char>(file.read_exactly(file_offset - 1, 1)[0]);
      inflatePrime(stream_.get(), bits, before >> (8 - bits));
    }
    restore_window(stream_.get(), *packed_window);
  }

  void read(std::span<char> bytes) {
    while (!bytes.empty()) {
      if (member_ended_) begin_next_member();
      const size_t wanted = std::min<size_t>(bytes.size(), 1 << 30);
      stream_->next_out = writable(bytes.data());
      stream_->avail_out = static_cast<uInt>(wanted);
      if (stream_->avail_in == 0) refill();
      const int status = inflate(stream_.get(), Z_NO_FLUSH);
      bytes = bytes.subspan(wanted - stream_->avail_out);
      member_ended_ = status == Z_STREAM_END;
      if (!member_ended_ && status != Z_OK && status != Z_BUF_ERROR) throw changed();
    }
  }

 private:
  Error changed() const {
    return Error(
        concat(file_.name(), ": cannot be inflated again; was it changed while it was read?"));
  }

  void refill() {
    const size_t count = file_.read(file_offset_, input_);
    if (count == 0) throw changed();
    file_offset_ += count;
    stream_->next_in = writable(input_.data());
    stream_->avail_in = static_cast<uInt>(count);
  }

  unsigned char first_byte() {
    if (stream_->avail_in == 0) refill();
    return *stream_->next_in;
  }

  void drop_byte() {
    first_byte();
    ++stream_->next_in;
    --stream_->avail_in;
  }

  void begin_next_member() {
    for (size_t i = 0; raw_ && i < kTrailerBytes; ++i) drop_byte();
    while (first_byte() == 0) drop_byte();
    raw_ = false;
    member_ended_ = false;
    inflateReset2(stream_.get(), kGzip);
  }

  const InputFile& file_;
  InflateStream stream_;
  bool raw_;  // without the gzip header and trailer
  bool member_ended_ = false;
  uint64_t file_offset_;
  std::array<char, kPieceBytes> input_{};
};

}  // namespace

InflateStream::InflateStream(int window_bits) {
  if (inflateInit2(&stream_, window_bits) != Z_OK) throw std::bad_alloc();
}

InflateStream::~InflateStream() { inflateEnd(&stream_); }

std::string GzipIndex::read(const InputFile& file, uint64_t offset, size_t count) const {
  std::string bytes(count, '\0');
  if (count == 0) return bytes;
  const auto after =
      std::upper_bound(places_.begin(), places_.end(), offset,
                       [](uint64_t value, const Place& place) { return value < place.offset; });
  const Place& place = *std::prev(after);
  Reader reader(file, place.file_offset, place.bits,
                place.member_start ? nullptr : &place.packed_window);
  std::array<char, kPieceBytes> skipped{};
  for (uint64_t left = offset - place.offset; left > 0;) {
    const size_t piece = std::min<uint64_t>(left, skipped.size());
    reader.read(std::span(skipped).first(piece));
    left -= piece;
  }
  reader.read(bytes);
  return bytes;
}

size_t GzipIndex::memory_bytes() const {
  size_t bytes = places_.capacity() * sizeof(Place);
  for (const Place& place : places_) bytes += place.packed_window.capacity();
  return bytes;
}

GzipScanner::GzipScanner(std::string name)
    : name_(std::move(name)), stream_(kGzip), output_(kPieceBytes) {}

void GzipScanner::feed(std::string_view bytes, const ByteConsumer& sink) {
  file_offset_ += bytes.size();
  stream_->next_in = writable(bytes.data());
  stream_->avail_in = static_cast<uInt>(bytes.size());
  stream_->avail_out = 1;
  while (stream_->avail_in > 0 || stream_->avail_out == 0) {
    if (between_members_ && !begin_member()) return;
    inflate_some(sink);
  }
}

bool GzipScanner::begin_member() {
  while (members_ > 0 && stream_->avail_in > 0 && *stream_->next_in == 0) {
    ++stream_->next_in;
    --stream_->avail_in;
  }
  if (stream_->avail_in == 0) return false;
  inflateReset(stream_.get());
  between_members_ = false;
  if (index_.places_.empty() || offset_ - index_.places_.back().offset >= kSpacing) {
    add_place(true);
  }
  ++members_;
  return true;
}

void GzipScanner::inflate_some(const ByteConsumer& sink) {
  const uint64_t member_contents = stream_->total_out;
  stream_->next_out = output_.data();
  stream_->avail_out = static_cast<uInt>(output_.size());
  const int status = inflate(stream_.get(), Z_BLOCK);
  const size_t count = output_.size() - stream_->avail_out;
  offset_ += count;
  if (count > 0) sink({reinterpret_cast<const char*>(output_.data()), count});
  if (status == Z_STREAM_END) {
    between_members_ = true;
    stream_->avail_out = 1;  // nothing is waiting
    return;
  }
  if (status != Z_OK && status != Z_BUF_ERROR) {
    const uint64_t at = file_offset_ - stream_->avail_in;
    if (member_contents == 0 && stream_->total_in < 10 && members_ > 1) {
      throw Error(concat(name_, ": the gzip data end before byte ", at,
                         ", but something else follows; the file is damaged"));
    }
    throw Error(concat(name_, ": is not gzip, or damaged, at byte ", at, " (",
                       stream_->msg != nullptr ? stream_->msg : "no reason given", ")"));
  }
  const bool block_ended = (stream_->data_type & 128) != 0 && (stream_->data_type & 64) == 0;
  if (block_ended && offset_ - index_.places_.back().offset >= kSpacing) add_place(false);
}

void GzipScanner::add_place(bool member_start) {
  GzipIndex::Place place;
  place.offset = offset_;
  place.file_offset = file_offset_ - stream_->avail_in;
  place.member_start = member_start;
  if (!member_start) {
    place.bits = stream_->data_type & 7;
    place.packed_window = pack_window(stream_.get());
  }
  index_.places_.push_back(std::move(place));
}

GzipIndex GzipScanner::finish() {
  if (members_ == 0) throw Error(concat(name_, ": is empty, not a gzip file"));
  if (!between_members_) {
    throw Error(concat(name_, ": the gzip data are cut off at byte ", file_offset_,
                       "; fetch the file again"));
  }
  return std::move(index_);
}

}  // namespace kvcalib
