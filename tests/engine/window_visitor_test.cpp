// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/window_visitor.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include "calibrate/engine/embedding.h"
#include "calibrate/engine/output_head.h"
#include "calibrate/engine/range_observer.h"
#include "sharding/ranks/make_communicator.h"
#include "sharding/streaming/layer_stream.h"
#include "tests/engine/plain_forward.h"
#include "tests/message_of.h"
#include "tests/streaming/plain_directory.h"

namespace kvcalib {
namespace {

using fixture::small_model;

constexpr int64_t kLength = 24;

// Windows of a small model that run through some of its layers, whatever is wanted of them.
class PlainRun {
 public:
  explicit PlainRun(const ModelConfig& model = small_model())
      : directory_(folder_.path(), model, PlainDirectory::Order::kEngine) {}

  const PlainDirectory& directory() const { return directory_; }
  const ModelConfig& model() const { return directory_.config(); }

  WindowState begin(int64_t windows) const {
    const at::Tensor hidden = at::empty({windows * kLength, model().hidden});
    embed_tokens(directory_, some_ids(windows * kLength, model().vocab), hidden);
    return {0, hidden};
  }

  // Warms up with the first layer's weights.
  void warm_up(WindowState state, WindowWork work) {
    LayerStream stream(
        {.config = model(), .plan = [&](int64_t layer) { return directory_.layer_plan(layer); }},
        *communicator_);
    WindowVisitor visitor(
        make_layer_context(model(), plain_rotation(model()), kLength, at::kCPU, nullptr),
        {kLength, kLength}, std::move(state), std::move(work));
    visitor.warm_up(stream.next());
  }

  // Goes on from `state` to `last_layer`, with a source of its own.
  WindowState go_on(WindowState state, int64_t last_layer, WindowWork work) {
    const int64_t first = state.next_layer;
    LayerStream stream({.config = model(),
                        .plan = [&](int64_t layer) { return directory_.layer_plan(layer); },
                        .first_layer = first},
                       *communicator_);
    WindowVisitor visitor(
        make_layer_context(model(), plain_rotation(model()), kLength, at::kCPU, nullptr),
        {kLength, 2 * kLength}, std::move(state), std::move(work));
    run_layers(stream, {first, last_layer}, visitor);
    EXPECT_EQ(visitor.state().next_layer, last_layer);
    return visitor.state();
  }

  KvStatistics merged(const RangeObserver& observer) { return observer.merged(*communicator_); }

 private:
  const c10::InferenceMode inference_;
  const fixture::TemporaryFolder folder_;
  const PlainDirectory directory_;
  Rendezvous rendezvous_{Rank{}};
  const std::unique_ptr<Communicator> communicator_ = make_communicator({}, at::kCPU, rendezvous_);
};

WindowWork observing(const RangeObserver& observer) {
  return {.hook = [&observer](int64_t layer) { return observer.hook(layer); }, .output = true};
}

TEST(WindowVisitor, GoesOnFromAStateThatWasKeptWithTheSameBits) {
  PlainRun run;
  const RangeObserver at_once(run.model(), at::kCPU), in_parts(run.model(), at::kCPU);
  const int64_t layers = run.model().layers;
  const at::Tensor whole = run.go_on(run.begin(3), layers, observing(at_once)).hidden;
  for (int64_t stop = 1; stop < layers; ++stop) {
    const WindowState reached = run.go_on(run.begin(3), stop, observing(in_parts));
    const WindowState kept = {reached.next_layer, reached.hidden.clone()};
    reached.hidden.zero_();
    EXPECT_TRUE(at::equal(run.go_on(kept, layers, observing(in_parts)).hidden, whole));
  }
  EXPECT_EQ(run.merged(in_parts).keys, run.merged(at_once).keys);
  EXPECT_EQ(run.merged(in_parts).values, run.merged(at_once).values);
}

TEST(WindowVisitor, GivesAHookTheKeysAndValuesThatTheObserverSees) {
  PlainRun run;
  const ModelConfig& model = run.model();
  const RangeObserver observer(model, at::kCPU);
  const auto make = [&](float value) {
    return at::full({model.layers, model.kv_heads, model.head_dim}, value);
  };
  const at::Tensor lowest_key = make(INFINITY), highest_value = make(-INFINITY);
  const auto hook = [&](int64_t layer) {
    KvHook hook = observer.hook(layer);
    hook.function = [&, layer](const at::Tensor& /*queries*/, const at::Tensor& keys,
                               const at::Tensor& values) {
      lowest_key[layer].copy_(at::minimum(lowest_key[layer], keys.amin(0)));
      highest_value[layer].copy_(at::maximum(highest_value[layer], values.amax(0)));
    };
    return hook;
  };
  run.go_on(run.begin(3), model.layers, {.hook = hook});
  const KvStatistics found = run.merged(observer);
  for (int64_t i = 0; i < lowest_key.numel(); ++i) {
    EXPECT_EQ(lowest_key.data_ptr<float>()[i], found.keys.minimum[static_cast<size_t>(i)]);
    EXPECT_EQ(highest_value.data_ptr<float>()[i], found.values.maximum[static_cast<size_t>(i)]);
  }
}

TEST(WindowVisitor, AttendsToWhatAHookPutsInThePlaceOfKeysAndValues) {
  PlainRun run;
  const auto output = [&](KvHook::Function function) {
    return run
        .go_on(run.begin(3), 1,
               {.hook =
                    [&](int64_t /*layer*/) {
                      return KvHook{{}, function};
                    },
                .output = true})
        .hidden;
  };
  const at::Tensor untouched = output({});
  EXPECT_TRUE(at::equal(
      output([](const at::Tensor& /*queries*/, const at::Tensor& keys, const at::Tensor& values) {
        keys.copy_(keys.clone());
        values.copy_(values.clone());
      }),
      untouched));
  EXPECT_FALSE(at::equal(output([](const at::Tensor& /*queries*/, const at::Tensor& keys,
                                   const at::Tensor& /*values*/) { keys.zero_(); }),
                         untouched));
  // Where every value is the same, it does not matter what was attended to.
  const auto one_value = [](float key) {
    return [key](const at::Tensor& /*queries*/, const at::Tensor& keys, const at::Tensor& values) {
      keys.fill_(key);
      values.zero_();
    };
  };
  EXPECT_TRUE(at::equal(output(one_value(1)), output(one_value(-3))));
  EXPECT_FALSE(at::equal(output(one_value(1)), untouched));
}

TEST(WindowVisitor, WarmsUpWithRangesAndWithoutTheHooksFunction) {
  PlainRun run;
  const RangeObserver observer(run.model(), at::kCPU);
  run.warm_up(run.begin(1), {.hook = [&](int64_t layer) {
                KvHook hook = observer.hook(layer);
                hook.function = [](auto&&...) { FAIL() << "called with nothing to see"; };
                return hook;
              }});
  EXPECT_TRUE(std::isfinite(run.merged(observer).keys.minimum[0]));
}

TEST(WindowVisitor, EndsWithKeysAndValuesUnlessItsOutputIsWanted) {
  PlainRun run;
  const int64_t layers = run.model().layers;
  const WindowState before = run.go_on(run.begin(2), layers - 1, {});
  const at::Tensor input = before.hidden.clone();
  EXPECT_TRUE(at::equal(run.go_on(before, layers, {}).hidden, input));
  EXPECT_FALSE(at::equal(run.go_on(before, layers, {.output = true}).hidden, input));
}

TEST(WindowVisitor, StopsAtWhatIsNotFiniteThoughNothingIsObserved) {
  PlainRun run;
  const auto failing = [&](KvHook::Function function) {
    return message_of([&] {
      run.go_on(run.begin(1), 3, {.hook = [&](int64_t layer) {
                  return layer == 1 ? KvHook{{}, function} : KvHook{};
                }});
    });
  };
  EXPECT_HOLDS("layer 1: NaN or Inf in the hidden states before ffn_norm",
               failing([](const at::Tensor& /*queries*/, const at::Tensor& /*keys*/,
                          const at::Tensor& values) { values.fill_(INFINITY); }));
  WindowState state = run.begin(1);
  state.hidden.fill_(1e30);
  EXPECT_HOLDS("layer 0: NaN or Inf in the hidden states before attention_norm",
               message_of([&] { run.go_on(state, 1, {}); }));
}

double relative_error(const at::Tensor& found, const at::Tensor& expected) {
  return ((found.to(at::kDouble) - expected).norm() / expected.norm()).item<double>();
}

// Norm and head of the plain directory: its first attention norm and its embedding.
at::Tensor plain_logits(const ModelConfig& model, const at::Tensor& hidden) {
  const at::Tensor head = at::empty({model.vocab, model.hidden}, at::kShort);
  for (int64_t row = 0; row < model.vocab; ++row)
    for (int64_t column = 0; column < model.hidden; ++column)
      head.data_ptr<int16_t>()[row * model.hidden + column] =
          static_cast<int16_t>(fixture::element_bits(99, 9, row, column));
  const at::Tensor norm = whole_tensor(model, 0, LayerTensor::kAttentionNorm).view({-1});
  return at::mm(normed(hidden.to(at::kDouble), norm), head.view(at::kHalf).to(at::kDouble).t());
}

// The logits of all streams, behind one another; counts the blocks.
std::vector<at::Tensor> logits_of(const OutputHead& head, const std::vector<at::Tensor>& hidden,
                                  const at::Tensor& rows = {}, int64_t* blocks = nullptr) {
  std::vector<std::vector<at::Tensor>> parts(hidden.size());
  int64_t next = 0;
  const auto fault =
      head.run(hidden, rows, [&](int64_t first, const std::vector<at::Tensor>& logits) {
        EXPECT_EQ(first, next);
        EXPECT_EQ(logits.size(), hidden.size());
        for (size_t i = 0; i < logits.size(); ++i) parts[i].push_back(logits[i].clone());
        next += logits.front().size(0);
        if (blocks != nullptr) ++*blocks;
      });
  EXPECT_FALSE(fault);
  std::vector<at::Tensor> whole;
  for (const auto& part : parts) whole.push_back(at::cat(part));
  return whole;
}

TEST(OutputHead, MakesTheLogitsOfEveryRowHoweverManyThereAre) {
  at::manual_seed(8);
  PlainRun run;
  const ModelConfig& model = run.model();
  const OutputHead head(run.directory(), at::kCPU);
  for (const int64_t rows : {1, 700, 5000}) {
    const at::Tensor hidden = at::randn({rows, model.hidden}), before = hidden.clone();
    int64_t blocks = 0;
    const at::Tensor found = logits_of(head, {hidden}, {}, &blocks).front();
    EXPECT_EQ(blocks, rows == 5000 ? 2 : 1);
    EXPECT_EQ(found.scalar_type(), at::kFloat);
    EXPECT_LT(relative_error(found, plain_logits(model, hidden)), 1e-6) << rows << " rows";
    EXPECT_TRUE(at::equal(hidden, before));
    EXPECT_TRUE(at::equal(logits_of(head, {hidden.narrow(0, rows - 1, 1)}).front(),
                          found.narrow(0, rows - 1, 1)));
  }
}

TEST(OutputHead, GivesTheRowsThatAreNamedOfAllStreams) {
  at::manual_seed(9);
  PlainRun run;
  const OutputHead head(run.directory(), at::kCPU);
  const std::vector<at::Tensor> hidden = {at::randn({5000, run.model().hidden}),
                                          at::randn({5000, run.model().hidden}),
                                          at::randn({5000, run.model().hidden})};
  const at::Tensor rows = at::randperm(5000, at::kLong).narrow(0, 0, 4500);
  const std::vector<at::Tensor> found = logits_of(head, hidden, rows);
  for (size_t i = 0; i < hidden.size(); ++i)
    EXPECT_TRUE(at::equal(found[i], logits_of(head, {hidden[i]}).front().index_select(0, rows)));
}

TEST(OutputHead, HoldsNoMoreThanABlockOfLogits) {
  ModelConfig model = small_model();
  model.vocab = 32000;
  for (const int64_t streams : {1, 2, 5}) {
    const int64_t row = streams * model.vocab * 4;
    EXPECT_LE(output_head_rows(model, streams) * row, 1 << 28);
    EXPECT_GT((output_head_rows(model, streams) + 1) * row, 1 << 28);
    EXPECT_GT(output_head_bytes(model, false, streams), output_head_rows(model, streams) * row);
  }
  model.vocab = 1 << 29;
  EXPECT_EQ(output_head_rows(model, 2), 1);
}

TEST(OutputHead, KnowsTheStreamThatIsNotFinite) {
  PlainRun run;
  const OutputHead head(run.directory(), at::kCPU);
  const at::Tensor hidden = at::ones({600, run.model().hidden}), finite = hidden.clone();
  hidden[599][3] = INFINITY;
  const auto fault_of = [&](const std::vector<at::Tensor>& streams) {
    return head.run(streams, {}, [](int64_t /*first*/, const std::vector<at::Tensor>&) {});
  };
  EXPECT_EQ(fault_of({finite, hidden}), 1U);
  EXPECT_EQ(fault_of({hidden, finite}), 0U);
  EXPECT_EQ(fault_of({finite, finite}), std::nullopt);
  logits_of(head, {hidden}, at::arange(599, at::kLong));  // not asked for: no matter
}

TEST(OutputHead, BehindAWholeLastLayerHasTheLogitsOfAPlainForwardPassInDouble) {
  ModelConfig model = small_model();
  model.kv_heads = 2;
  PlainRun run(model);
  const at::Tensor start = run.begin(1).hidden.to(at::kDouble);
  const at::Tensor expected = plain_logits(model, plain_forward(model, start).output);
  const at::Tensor hidden = run.go_on(run.begin(1), model.layers, {.output = true}).hidden;
  const OutputHead head(run.directory(), at::kCPU);
  EXPECT_LT(relative_error(logits_of(head, {hidden}).front(), expected), 1e-5);
}

}  // namespace
}  // namespace kvcalib
