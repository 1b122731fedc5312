// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sharding/files/byte_sink.h"

namespace kvcalib {

// Single steps on the file system that reach the disk or throw Error naming the path and the
// system's reason.

// Throws Error "PATH: WHAT: reason of errno".
[[noreturn]] void throw_system_error(const std::filesystem::path& path, std::string_view what);

// What is at a path; links are not followed.
bool is_there(const std::filesystem::path& path);
bool is_plain_file(const std::filesystem::path& path);
bool is_plain_directory(const std::filesystem::path& path);
// Whether a directory is on another file system than what holds it: it cannot be renamed.  Throws
// Error where that cannot be told.
bool is_mount_point(const std::filesystem::path& directory);

// Where a path leads, absolute and without links, dots and a slash at its end; it need not be
// there.  Throws Error where that cannot be told.
std::filesystem::path resolved(const std::filesystem::path& path);
// Whether a path is `directory` or lies in it, as both are resolved.
bool is_within(const std::filesystem::path& path, const std::filesystem::path& directory);

// Names in a directory, sorted.
std::vector<std::string> list_directory(const std::filesystem::path& directory);

void make_directory(const std::filesystem::path& path);

// A file that did not exist, on the disk when this returns; removed again when it cannot be, or
// when its content throws.  Mode 0644 & ~umask.
void write_new_file(const std::filesystem::path& path, const FileContent& content);
void write_new_file(const std::filesystem::path& path, std::string_view bytes);

// Gives `path` the permissions and the owner of `model`.  Returns a warning where the owner cannot
// be kept.
std::optional<std::string> copy_permissions(const std::filesystem::path& model,
                                            const std::filesystem::path& path);

// The same file under a second name; a copy with its permissions where there are no hard links.
void duplicate_file(const std::filesystem::path& from, const std::filesystem::path& to);

void make_symbolic_link(const std::string& target, const std::filesystem::path& path);

// What a symbolic link says; nothing when `path` is none.
std::optional<std::string> link_target(const std::filesystem::path& path);

// Replaces `to` at once.
void rename_path(const std::filesystem::path& from, const std::filesystem::path& to);

// Each gets the other's place, at once.  Returns false, with nothing changed, where the file system
// cannot do that.
bool exchange_paths(const std::filesystem::path& one, const std::filesystem::path& other);

// What does not exist is removed already.
void remove_file(const std::filesystem::path& path);
void remove_tree(const std::filesystem::path& path);

// Brings names made, changed and removed in the directory to the disk.
void sync_directory(const std::filesystem::path& directory);

// Throws Error when `name` could leave its directory.
void check_file_name(std::string_view name);

}  // namespace kvcalib
