// SPDX-License-Identifier: Apache-2.0
#include "calibrate/output/file_operations.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "sharding/files/error.h"
#include "sharding/files/file_kind.h"
#include "sharding/files/metadata_file.h"
#include "sharding/files/new_file.h"
#include "sharding/files/restarted.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

constexpr mode_t kDirectoryMode = 0755;
constexpr mode_t kPermissions = 07777;
constexpr size_t kLinkBytes = 256;

// An open file, closed on destruction.
class Descriptor {
 public:
  explicit Descriptor(int descriptor) : descriptor_(descriptor) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }

  int get() const { return descriptor_; }

 private:
  const int descriptor_;
};

}  // namespace

void throw_system_error(const fs::path& path, std::string_view what) {
  throw Error(concat(path.string(), ": ", what, ": ", std::strerror(errno)));
}

bool is_there(const fs::path& path) { return kind_at(path) != FileKind::kNothing; }

bool is_plain_file(const fs::path& path) { return kind_at(path) == FileKind::kFile; }

bool is_plain_directory(const fs::path& path) { return kind_at(path) == FileKind::kDirectory; }

bool is_mount_point(const fs::path& directory) {
  const auto device_of = [](const fs::path& path) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) throw_system_error(path, "cannot be read");
    return status.st_dev;
  };
  return device_of(directory) != device_of(directory.parent_path());
}

fs::path resolved(const fs::path& path) {
  std::error_code failure;
  fs::path found = fs::weakly_canonical(fs::absolute(path, failure), failure);
  if (failure || found.empty())
    throw Error(concat(path.string(), ": no path to a file or directory: ",
                       failure ? failure.message() : "it is empty"));
  return found.has_filename() || found == found.root_path() ? found : found.parent_path();
}

bool is_within(const fs::path& path, const fs::path& directory) {
  const fs::path inner = resolved(path), outer = resolved(directory);
  return std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end();
}

std::vector<std::string> list_directory(const fs::path& directory) {
  std::vector<std::string> names;
  std::error_code failure;
  for (fs::directory_iterator entry(directory, failure), end; !failure && entry != end;
       entry.increment(failure)) {
    names.push_back(entry->path().filename().string());
  }
  if (failure) throw Error(concat(directory.string(), ": cannot be listed: ", failure.message()));
  std::sort(names.begin(), names.end());
  return names;
}

void make_directory(const fs::path& path) {
  if (::mkdir(path.c_str(), kDirectoryMode) != 0) throw_system_error(path, "cannot be created");
}

void write_new_file(const fs::path& path, const FileContent& content) {
  NewFile file(path);
  try {
    content(file);
    file.finish();
  } catch (...) {
    ::unlink(path.c_str());
    throw;
  }
}

void write_new_file(const fs::path& path, std::string_view bytes) {
  write_new_file(path, [bytes](ByteSink& file) { file.append(bytes); });
}

std::optional<std::string> copy_permissions(const fs::path& model, const fs::path& path) {
  struct stat status {};
  struct stat own {};
  if (::stat(model.c_str(), &status) != 0) throw_system_error(model, "cannot be looked at");
  if (::stat(path.c_str(), &own) != 0) throw_system_error(path, "cannot be looked at");
  std::optional<std::string> warning;
  // Only root may give files away, and in a container not to everybody.
  const bool is_given = own.st_uid == status.st_uid && own.st_gid == status.st_gid;
  if (!is_given && ::chown(path.c_str(), status.st_uid, status.st_gid) != 0) {
    warning = concat("the owner ", status.st_uid, ':', status.st_gid,
                     " cannot be kept: ", std::strerror(errno));
  }
  const mode_t wanted = status.st_mode & kPermissions;
  if ((own.st_mode & kPermissions) != wanted && ::chmod(path.c_str(), wanted) != 0) {
    throw_system_error(path, "cannot be given its permissions");
  }
  return warning;
}

void duplicate_file(const fs::path& from, const fs::path& to) {
  if (::link(from.c_str(), to.c_str()) == 0) return;
  if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS && errno != EMLINK &&
      errno != EXDEV) {
    throw_system_error(to, "cannot be created");
  }
  write_new_file(to, read_metadata_file(from));
  copy_permissions(from, to);
}

void make_symbolic_link(const std::string& target, const fs::path& path) {
  if (::symlink(target.c_str(), path.c_str()) != 0) {
    throw_system_error(path, "cannot be created as a symbolic link");
  }
}

std::optional<std::string> link_target(const fs::path& path) {
  std::string target(kLinkBytes, '\0');
  while (true) {
    const ssize_t length = ::readlink(path.c_str(), target.data(), target.size());
    if (length < 0 && (errno == EINVAL || errno == ENOENT)) return std::nullopt;
    if (length < 0) throw_system_error(path, "cannot be read as a link");
    if (static_cast<size_t>(length) < target.size()) {
      target.resize(static_cast<size_t>(length));
      return target;
    }
    target.resize(2 * target.size());
  }
}

void rename_path(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) throw_system_error(to, "cannot be replaced");
}

bool exchange_paths(const fs::path& one, const fs::path& other) {
  if (::renameat2(AT_FDCWD, one.c_str(), AT_FDCWD, other.c_str(), RENAME_EXCHANGE) == 0)
    return true;
  if (errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP) return false;
  throw_system_error(other, "cannot be replaced");
}

void remove_file(const fs::path& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) throw_system_error(path, "cannot be removed");
}

void remove_tree(const fs::path& path) {
  std::error_code failure;
  fs::remove_all(path, failure);
  if (failure) throw Error(concat(path.string(), ": cannot be removed: ", failure.message()));
}

void sync_directory(const fs::path& directory) {
  const Descriptor descriptor(
      restarted([&] { return ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
  if (descriptor.get() < 0) throw_system_error(directory, "cannot be opened");
  // EINVAL: a file system whose directories need no such call.
  if (restarted([&] { return ::fsync(descriptor.get()); }) != 0 && errno != EINVAL) {
    throw_system_error(directory, "cannot be brought to the disk");
  }
}

void check_file_name(std::string_view name) {
  if (name.empty() || name.starts_with('.') || name.find('/') != std::string_view::npos) {
    throw Error(concat("'", name, "': not a file name for output"));
  }
}

}  // namespace kvcalib
