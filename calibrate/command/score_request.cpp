// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/score_request.h"

#include "calibrate/command/cache_format_archive.h"
#include "sharding/files/byte_archive.h"

namespace kvcalib {

template <typename Archive, SameAs<CacheStream> T>
void members(Archive& archive, T& stream) {
  archive(stream.name, stream.format, stream.first_tree, stream.last_tree);
}

template <typename Archive, SameAs<TokenTree::Node> T>
void members(Archive& archive, T& node) {
  archive(node.parent, node.first, node.count);
}

template <typename Archive, SameAs<TokenTree> T>
void members(Archive& archive, T& tree) {
  archive(tree.ids, tree.nodes, tree.scored);
}

template <typename Archive, SameAs<TreeGroup> T>
void members(Archive& archive, T& group) {
  archive(group.first, group.last);
}

template <typename Archive, SameAs<ScoreRequest> T>
void members(Archive& archive, T& request) {
  archive(request.streams, request.length, request.divergences, request.sample_from, request.groups,
          request.trees);
}

std::vector<TreeGroup> tree_groups(const std::vector<TokenTree>& trees, int64_t first,
                                   int64_t most_tokens) {
  std::vector<TreeGroup> groups;
  int64_t tokens = 0;
  for (int64_t tree = first; tree < static_cast<int64_t>(trees.size()); ++tree) {
    const int64_t own = trees[static_cast<size_t>(tree)].tokens();
    if (groups.empty() || tokens + own > most_tokens) {
      groups.push_back({tree, tree});
      tokens = 0;
    }
    groups.back().last = tree + 1;
    tokens += own;
  }
  return groups;
}

std::string to_bytes(const ScoreRequest& request) { return to_archive(request); }

ScoreRequest score_request_of(std::string_view bytes) {
  return from_archive<ScoreRequest>(bytes, "the first rank's request");
}

}  // namespace kvcalib
